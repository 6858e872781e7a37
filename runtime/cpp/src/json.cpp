#include "json.h"

#include <clocale>
#include <cmath>
#include <cstdlib>
#include <unordered_set>

#include "tables.h"

namespace vaee {

const Json* Json::find(std::string_view key) const {
    for (const auto& member : members)
        if (member.first == key) return &member.second;
    return nullptr;
}

const Json& Json::at(std::string_view key) const {
    const Json* value = find(key);
    if (!value) fail(VAEE_INTERNAL_ERROR, "the manifest has no key " + quoted(key));
    return *value;
}

namespace {

// Depth is counted before anything is parsed, outside of texts.
void check_depth(std::string_view raw) {
    i64 depth = 0;
    for (std::size_t at = 0; at < raw.size(); ++at) {
        char c = raw[at];
        if (c == '"') {
            for (++at; at < raw.size() && raw[at] != '"'; ++at)
                if (raw[at] == '\\') ++at;
        } else if (c == '[' || c == '{') {
            if (++depth > limits::json_depth) fail(VAEE_BUNDLE_INVALID, "JSON nested more than 16 deep");
        } else if (c == ']' || c == '}') {
            --depth;
        }
    }
}

class Parser {
public:
    explicit Parser(std::string_view raw) : raw_(raw) {}

    Json document() {
        Json made = value();
        space();
        if (at_ != raw_.size()) refuse("text after its end");
        return made;
    }

private:
    [[noreturn]] void refuse(const std::string& what) {
        fail(VAEE_BUNDLE_INVALID, "not valid JSON: " + what + " at byte " + std::to_string(at_));
    }
    char peek() { return at_ < raw_.size() ? raw_[at_] : '\0'; }
    void space() {
        while (at_ < raw_.size() && (raw_[at_] == ' ' || raw_[at_] == '\t' || raw_[at_] == '\n' || raw_[at_] == '\r')) ++at_;
    }
    bool word(std::string_view wanted) {
        if (raw_.substr(at_, wanted.size()) != wanted) return false;
        at_ += wanted.size();
        return true;
    }

    Json value() {
        space();
        Json made;
        char c = peek();
        if (c == '{') return object();
        if (c == '[') return array();
        if (c == '"') {
            made.kind = Json::text;
            made.string = string();
        } else if (word("true") || word("false")) {
            made.kind = Json::boolean;
            made.truth = c == 't';
        } else if (!word("null")) {
            return number();
        }
        return made;
    }

    Json object() {
        Json made;
        made.kind = Json::object;
        std::unordered_set<std::string> seen;
        ++at_;
        space();
        if (peek() == '}') return ++at_, made;
        for (;;) {
            space();
            if (peek() != '"') refuse("a key that is no text");
            std::string key = string();
            if (!seen.insert(key).second) fail(VAEE_BUNDLE_INVALID, "JSON key " + quoted(key) + " occurs twice");
            space();
            if (peek() != ':') refuse("a key without ':'");
            ++at_;
            made.members.emplace_back(std::move(key), value());
            space();
            char c = peek();
            ++at_;
            if (c == '}') return made;
            if (c != ',') refuse("no ',' between two keys");
        }
    }

    Json array() {
        Json made;
        made.kind = Json::array;
        ++at_;
        space();
        if (peek() == ']') return ++at_, made;
        for (;;) {
            made.items.push_back(value());
            space();
            char c = peek();
            ++at_;
            if (c == ']') return made;
            if (c != ',') refuse("no ',' between two values");
        }
    }

    u32 hex4() {
        u32 code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            char c = peek();
            int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
            if (digit < 0) refuse("a wrong \\u");
            code = code << 4 | u32(digit);
        }
        return code;
    }

    static void append(std::string& text, u32 code) {
        if (code < 0x80) {
            text += char(code);
        } else if (code < 0x800) {
            text += char(0xc0 | code >> 6);
            text += char(0x80 | (code & 0x3f));
        } else if (code < 0x10000) {
            text += char(0xe0 | code >> 12);
            text += char(0x80 | (code >> 6 & 0x3f));
            text += char(0x80 | (code & 0x3f));
        } else {
            text += char(0xf0 | code >> 18);
            text += char(0x80 | (code >> 12 & 0x3f));
            text += char(0x80 | (code >> 6 & 0x3f));
            text += char(0x80 | (code & 0x3f));
        }
    }

    std::string string() {
        std::string text;
        ++at_;
        for (;;) {
            if (at_ >= raw_.size()) refuse("a text without end");
            char c = raw_[at_++];
            if (c == '"') return text;
            if (static_cast<u8>(c) < 0x20) refuse("a control character");
            if (c != '\\') {
                text += c;
                continue;
            }
            c = peek();
            ++at_;
            static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
            if (const char* found = c ? std::strchr(names, c) : nullptr) {
                text += values[found - names];
                continue;
            }
            if (c != 'u') refuse("a wrong escape");
            u32 code = hex4();
            if (code >= 0xd800 && code <= 0xdbff && raw_.substr(at_, 2) == "\\u") {
                std::size_t back = at_;
                at_ += 2;
                u32 low = hex4();
                if (low >= 0xdc00 && low <= 0xdfff)
                    code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
                else
                    at_ = back;
            }
            append(text, code);
        }
    }

    Json number() {
        std::size_t start = at_;
        auto digits = [&] {
            std::size_t first = at_;
            while (peek() >= '0' && peek() <= '9') ++at_;
            return at_ > first;
        };
        if (peek() == '-') ++at_;
        if (raw_.substr(at_, 8) == "Infinity" || raw_.substr(at_, 3) == "NaN") refuse("what is not a number");
        if (peek() == '0')
            ++at_;
        else if (!digits())
            refuse("no value");
        Json made;
        made.kind = Json::integer;
        std::size_t end = at_;
        if (peek() == '.') {
            ++at_;
            if (digits()) end = at_, made.kind = Json::number;
        }
        at_ = end;
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            if (digits()) end = at_, made.kind = Json::number;
        }
        at_ = end;
        std::string text(raw_.substr(start, end - start));
        if (text.size() > limits::json_number) refuse("a number of more than 64 characters");
        made.real = parsed(text);
        if (made.kind == Json::number) {
            if (!std::isfinite(made.real)) refuse("a number that overflows");
            return made;
        }
        bool negative = text[0] == '-';
        i64 whole = 0;
        for (std::size_t i = negative; i < text.size(); ++i) {
            i64 digit = text[i] - '0', shifted, sum;
            if (__builtin_mul_overflow(whole, i64(10), &shifted) || __builtin_sub_overflow(shifted, digit, &sum)) {
                made.beyond = negative ? -1 : 1;
                return made;
            }
            whole = sum;  // counted downwards: the smallest number has no positive one
        }
        if (!negative && whole == INT64_MIN)
            made.beyond = 1;
        else
            made.whole = negative ? whole : -whole;
        return made;
    }

    // strtod reads the point of the program's locale, so the text is given that point.
    static double parsed(std::string text) {
        const char* point = std::localeconv()->decimal_point;
        std::size_t at = text.find('.');
        if (at != std::string::npos && std::strcmp(point, ".") != 0) text.replace(at, 1, point);
        return std::strtod(text.c_str(), nullptr);
    }

    std::string_view raw_;
    std::size_t at_ = 0;
};

}  // namespace

Json parse_json(std::string_view raw) {
    if (raw.size() > std::size_t(limits::manifest_bytes)) fail(VAEE_BUNDLE_INVALID, "JSON of more than 4 MiB");
    check_depth(raw);
    if (!is_utf8(raw)) fail(VAEE_BUNDLE_INVALID, "not valid JSON: not UTF-8");
    return Parser(raw).document();
}

}  // namespace vaee
