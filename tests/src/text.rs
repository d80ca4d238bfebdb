//! A text file that is different at every line and the same in every run.
//!
//! Owns: the generator. Lines have 0 to 160 bytes, some are empty, some hold letters of several bytes, some carriage
//! returns and tabs; the last one has a newline unless the caller takes it away.

/// `lines` lines.
#[must_use]
pub fn text(lines: u64) -> Vec<u8> {
    let words: [&str; 16] = [
        "alpha",
        "Überlauf",
        "x",
        "segment",
        "日本語",
        "0",
        "offset=17",
        "\t",
        "GET /index.html",
        "--",
        "naïve",
        "α≤β",
        "lorem ipsum dolor",
        "\"quoted, text\"",
        "\\n",
        "\r",
    ];
    let mut out = Vec::with_capacity(usize::try_from(lines).expect("a size of this machine") * 48);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for line in 0..lines {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state.is_multiple_of(37) {
            out.push(b'\n');
            continue;
        }
        out.extend_from_slice(line.to_string().as_bytes());
        let mut rest = state;
        while rest > 0xff_ffff {
            out.push(b' ');
            let word = words.get((rest & 15) as usize).expect("four bits choose one of sixteen");
            out.extend_from_slice(word.as_bytes());
            rest >>= 5;
        }
        out.push(b'\n');
    }
    out
}

/// Where line `index` starts, in bytes; the length of `text` when there are not so many.
#[must_use]
pub fn line_start(text: &[u8], index: u64) -> usize {
    let newlines = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(newlines).nth(usize::try_from(index).expect("an index")).unwrap_or(text.len())
}
