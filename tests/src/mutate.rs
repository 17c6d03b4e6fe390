//! Deterministic mutation of texts: the same seed and the same corpus give the same inputs.
//!
//! Knows words of the language only as material to put in; judges nothing.

/// A small generator of pseudo-random numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Any seed will do.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.bits() >> 11) as usize % limit }
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Pieces that make inputs reach further than random bytes do.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "{", "}", "(", ")", "[", "]", "/", "//", "/*", "*/", "\"", "'", "\\", ";", ",", ".", "..", "->", "=>", "::", ":",
    "?", "@", "@x", "@x[1]", "$a", "$1", "$#", "$$", "_", "=", "==", "!=", "<", "<<", "<<=", ">>", "&&", "||", "!", "~",
    "-", "--", "++", "+", "%", "*", "&", "|", "^", "#", "#define A 1\n", "#define F(x) (x+1)\n", "#if 1\n", "#endif\n",
    "#include <x.h>\n", "0", "1", "-1", "0x", "0xffffffffffffffff", "18446744073709551616", "1e400", "1_000",
    "9223372036854775808", "0b1", "BEGIN", "END", "begin", "end", "interval:s:1", "kprobe:f", "tracepoint:a:b",
    "tracepoint:syscalls:sys_enter_openat", "uprobe:/bin/x:f", "profile:hz:99", "rawtracepoint:sys_enter", "if", "else",
    "while", "for", "unroll", "return", "break", "continue", "let", "config", "import", "macro", "fn", "struct",
    "union", "enum", "typedef", "sizeof", "offsetof", "(uint8)", "(struct task_struct *)", "curtask", "pid", "tid",
    "comm", "nsecs", "args", "args.filename", "arg0", "retval", "kstack", "ustack", "probe", "func",
    "printf(\"%d\\n\", 1)", "printf(\"%s\"", "print(@x)", "hist(1)", "lhist(1,0,10,1)", "count()", "sum(1)", "avg(1)",
    "stats(1)", "min(1)", "max(1)", "str(0)", "clear(@x)", "delete(@x,1)", "exit()", "ntop(1)",
    "strftime(\"%H\", nsecs)", "(1,2)", "(1,(2,\"a\"))", "\"text\"", "\"\\x41\"", "\"\\", "\u{e9}", "\u{1F600}",
    "\u{0}", "\n", "\t", " ", "true", "false", "comptime", "typeof(1)", "@x++", "@x[1,\"a\"] = 2", "$a.1", ".0.1",
    "unroll(5) {",
];

/// Changes `text` in one to six places, with pieces of itself, of `other` and of the language.
pub fn mutate(text: &str, other: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let longest = if random.below(4) == 0 { 60 } else { 6 };
        let length = 1 + random.below(longest);
        let end = (at + length).min(bytes.len());
        match random.below(9) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.bits() as u8;
                }
            }
            2 | 3 => {
                let word = random.pick(WORDS).copied().unwrap_or_default();
                insert(&mut bytes, at, word.as_bytes());
            }
            4 => {
                let word = random.pick(WORDS).copied().unwrap_or_default();
                bytes.splice(at..end, word.bytes());
            }
            5 => {
                let piece = bytes.get(at..end).unwrap_or_default().to_vec();
                let to = random.below(bytes.len() + 1);
                insert(&mut bytes, to, &piece);
            }
            6 => {
                let from = random.below(other.len() + 1);
                let piece = other.as_bytes().get(from..).unwrap_or_default();
                let piece = piece.get(..length.min(piece.len())).unwrap_or_default();
                insert(&mut bytes, at, piece);
            }
            7 => {
                // The tail of another text: two scripts grown together.
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(other.as_bytes().get(from..).unwrap_or_default());
            }
            _ => {
                // Deep nesting and long runs.
                let word = random.pick(WORDS).copied().unwrap_or_default();
                let count = if random.below(20) == 0 { 5000 } else { 1 + random.below(40) };
                insert(&mut bytes, at, word.repeat(count).as_bytes());
            }
        }
    }
    bytes.truncate(1 << 16);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Numbers that lengths, offsets and counts go wrong with.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// Changes a file in one to eight places, or cuts it off.
pub fn mutate_bytes(sample: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let width = 1 << random.below(4);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 | 2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            3..=5 => {
                let number = random.pick(&NUMBERS).copied().unwrap_or(0).to_le_bytes();
                // Headers are at the start, and what goes wrong there goes far.
                let at = if random.below(2) == 0 { at % 4096 } else { at };
                let place = bytes.iter_mut().skip(at).take(width);
                place.zip(number).for_each(|(byte, new)| *byte = new);
            }
            6 => {
                let noise: Vec<u8> = (0..random.below(64)).map(|_| random.bits() as u8).collect();
                let end = (at + noise.len()).min(bytes.len());
                bytes.splice(at..end, noise);
            }
            _ => {
                let from = random.below(bytes.len() + 1);
                let piece = bytes.iter().skip(from).take(1 + random.below(64)).copied().collect::<Vec<_>>();
                insert(&mut bytes, at, &piece);
            }
        }
    }
    bytes
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let at = at.min(bytes.len());
    bytes.splice(at..at, piece.iter().copied());
}

/// The smallest text that `fails` still holds for, by leaving out ever smaller pieces, until `budget` attempts are used up.
pub fn minimise(text: &str, budget: usize, mut fails: impl FnMut(&str) -> bool) -> String {
    let mut smallest: Vec<char> = text.chars().collect();
    let mut attempts = 0;
    let mut size = smallest.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < smallest.len() {
            if attempts >= budget {
                return smallest.into_iter().collect();
            }
            attempts += 1;
            let end = (at + size).min(smallest.len());
            let mut shorter = smallest.clone();
            shorter.drain(at..end);
            let candidate: String = shorter.iter().collect();
            if fails(&candidate) {
                smallest = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    smallest.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_texts() {
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..50).map(|_| mutate("BEGIN { exit(); }", "END { @x = 1; }", &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn minimising_leaves_what_matters() {
        let small = minimise("some long text with a needle in it", 10_000, |text| text.contains("needle"));
        assert_eq!(small, "needle");
    }
}
