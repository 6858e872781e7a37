"""fp16 and int8 variants of the fp32 graphs: made, searched for the best, and held to gates."""
