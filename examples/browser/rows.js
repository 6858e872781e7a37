// Files to rows, by the rules of docs/data.md: pictures to pixels, CSV to sensor rows or windows.

const RULES = { exact: "", stretch: "", pad: ", padded", crop: ", cut to its middle" };

/** Whether a model's rows are pictures. */
export function isPicture({ layout }) {
  return layout === "nchw" || layout === "nhwc";
}

/** Height, width and channels of a model's pictures. */
export function pictureSize({ layout, shape }) {
  return layout === "nchw" ? [shape[1], shape[2], shape[0]] : shape;
}

/** Where a picture of another size lies on the model's: stretched, padded with black, or cut to its middle. */
function placed(fit, [width, height], [w, h]) {
  if (fit !== "pad" && fit !== "crop") return [0, 0, width, height];
  const scale = fit === "pad" ? Math.min(width / w, height / h) : Math.max(width / w, height / h);
  return [(width - w * scale) / 2, (height - h * scale) / 2, w * scale, h * scale];
}

/** One picture as a row: {row, note}. A picture of another size is resized by the rule of the bundle, and `note` says so. */
export async function pictureRow(file, input) {
  const [height, width, channels] = pictureSize(input);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(`${file.name} is no picture that this browser reads`);
  }
  const note = bitmap.width === width && bitmap.height === height ? "" : `resized from ${bitmap.width} × ${bitmap.height}${RULES[input.fit]}`;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  if (input.fit === "pad") {
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(bitmap, ...placed(input.fit, [width, height], [bitmap.width, bitmap.height]));
  const { data } = context.getImageData(0, 0, width, height);
  if (channels !== 1 && channels !== 3) throw new Error(`the model's pictures have ${channels} channels; this page draws 1 or 3`);
  const row = new (input.dtype === "uint8" ? Uint8Array : Float32Array)(height * width * channels);
  // Models of float32 pictures were calibrated on 0 to 1 or on 0 to 255: the manifest says which.
  const scale = input.dtype === "float32" && input.high <= 1 ? 255 : 1;
  for (let pixel = 0; pixel < height * width; pixel++) {
    const [r, g, b, alpha] = data.subarray(4 * pixel, 4 * pixel + 4);
    if (alpha !== 255) throw new Error(`${file.name} has transparent pixels; flatten it first`);
    if (channels === 1 && (r !== g || g !== b)) throw new Error(`${file.name} is in colour, the model takes grey pictures`);
    [r, g, b].slice(0, channels).forEach((value, channel) => {
      const place = input.layout === "nchw" ? channel * height * width + pixel : pixel * channels + channel;
      row[place] = value / scale;
    });
  }
  return { row, note };
}

/** Cells of one CSV line; quotes may surround a cell and are doubled inside it. */
function cells(line) {
  const parts = line.match(/("([^"]|"")*"|[^,]*)(,|$)/g).map((part) => part.replace(/,$/, ""));
  if (!line.endsWith(",")) parts.pop(); // the empty match at the end
  return parts.map((part) => (/^".*"$/.test(part) ? part.slice(1, -1).replaceAll('""', '"') : part.trim()));
}

/**
 * A CSV as rows of the model: {data, rows, skipped, columns}.
 *
 * Columns are taken by name where the bundle names its features, else in order. Rows of a window model are cut into
 * windows that do not overlap. A cell that is empty or no number is NaN: the row gets a status and no score.
 */
export function tableRows(text, { layout, shape, names, dtype }) {
  if (dtype !== "float32") throw new Error("the model takes bytes; a CSV of sensor rows needs a model of float32");
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/).filter((line) => line.trim() !== "");
  if (!lines.length) throw new Error("the CSV is empty");
  const width = shape[shape.length - 1];
  const first = cells(lines[0]);
  const hasHeader = first.some((cell) => cell !== "" && Number.isNaN(Number(cell)));
  const header = hasHeader ? first : first.map((_, i) => `column ${i + 1}`);
  let places = header.map((_, i) => i);
  if (names.length && hasHeader) {
    places = names.map((name) => header.indexOf(name));
    const absent = names.filter((_, i) => places[i] < 0);
    if (absent.length) throw new Error(`the CSV has no column ${absent.join(", ")}; it has ${header.join(", ")}`);
  }
  if (places.length !== width) throw new Error(`the CSV has ${places.length} columns, the model takes ${width}`);
  const values = lines.slice(hasHeader ? 1 : 0).map((line) => {
    const parts = cells(line);
    return places.map((i) => (parts[i] === undefined || parts[i] === "" ? NaN : Number(parts[i])));
  });
  const steps = layout === "time_features" ? shape[0] : 1;
  const rows = Math.floor(values.length / steps);
  if (!rows) throw new Error(`the CSV has ${values.length} rows, one window takes ${steps}`);
  const data = Float32Array.from(values.slice(0, rows * steps).flat());
  return { data, rows, skipped: values.length - rows * steps, columns: names.length ? names : places.map((i) => header[i]) };
}
