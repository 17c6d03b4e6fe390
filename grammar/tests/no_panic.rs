//! No text makes the parser or the formatter panic, overflow the stack or run away.
#![allow(missing_docs, clippy::unwrap_used)]

mod scripts;

use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;

use scripts::ACCEPTED;
use tapline_grammar::{
    Header, Headers, ParseOptions, Preamble, format, parse, parse_among, parse_expr, parse_header, span::FileId,
};

/// Pieces that mutations put in.
const PIECES: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "/",
    "//",
    "/*",
    "*/",
    "\"",
    "'",
    ";",
    ",",
    ":",
    "..",
    ".",
    "->",
    "$",
    "@",
    "#",
    "\\",
    "\n",
    " ",
    "\n#if ",
    "\n#else\n",
    "\n#endif\n",
    "#define X(",
    "struct {",
    "if",
    "else",
    "for (",
    "$x = ",
    "comptime ",
    "typeof(",
    "(struct a *)",
    "kprobe:",
    "\nkprobe:f {",
    "=",
    "?",
    "++",
    "&&",
    "0x",
    "1e999",
    "\u{e9}",
    "\0",
    "?:",
    "<<=",
];

/// A small deterministic generator (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Runs everything on a text and checks that what is reported lies within it.
fn exercise(text: &str) {
    let opts = ParseOptions::default();
    let parsed = parse(FileId(0), text, &opts);
    let _ = parsed.script.to_string();
    for error in &parsed.errors {
        for span in error.labels.iter().map(|(span, _)| *span).chain([error.span]) {
            assert!(text.get(span.start as usize..span.end as usize).is_some(), "{error:?} in {text:?}");
        }
        assert!(!error.message.is_empty());
    }
    match format(text) {
        Ok(once) => {
            assert!(parsed.errors.is_empty());
            assert_eq!(format(&once).as_deref(), Ok(once.as_str()), "{text:?}");
            let again = parse(FileId(0), &once, &opts).script.to_string();
            assert_eq!(again, parsed.script.to_string(), "{text:?}\n{once}");
        }
        Err(errors) => assert_eq!(errors, parsed.errors),
    }
    let _ = parse_header(FileId(0), text, &mut Preamble::new(&opts), &Itself::new(text, 20));
    let _ = parse_among(FileId(1), text, &mut Preamble::new(&opts), &Itself::new(text, 20));
    let _ = parse_expr(FileId(0), text);
}

/// Every header is this text, as long as it is not opened too often.
struct Itself {
    text: Rc<str>,
    left: Cell<u32>,
}

impl Itself {
    fn new(text: &str, left: u32) -> Self {
        Self { text: text.into(), left: Cell::new(left) }
    }
}

impl Headers for Itself {
    fn open(&self, _: &str, _: bool, _: FileId) -> Result<Option<Header>, String> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        Ok((left > 0).then(|| Header { file: FileId(0), text: Rc::clone(&self.text) }))
    }
}

#[test]
fn headers_that_include_themselves_come_to_an_end() {
    let opts = ParseOptions::default();
    for text in ["#include <a>\n#include <a>\n", "#include \"a\"\n#include \"a\"\nstruct a { int x; };\n"] {
        let headers = Itself::new(text, u32::MAX);
        let parsed = parse_among(FileId(1), text, &mut Preamble::new(&opts), &headers);
        let opened = u32::MAX - headers.left.get();
        assert!(opened < 100, "{opened}");
        let told: Vec<&str> = parsed.errors.iter().map(|e| e.message.as_str()).collect();
        assert_eq!(told, ["headers include each other too deeply"]);
    }
    let long = format!("#include \"a\"\n{}", "// comment\n".repeat(100_000));
    let headers = Itself::new(&long, u32::MAX);
    let parsed = parse_among(FileId(1), "#include \"a\"\n#include \"a\"\n", &mut Preamble::new(&opts), &headers);
    let told: Vec<&str> = parsed.errors.iter().map(|e| e.message.as_str()).collect();
    assert_eq!(told, ["the headers are too long together"]);
    let often = "#include \"b\"\n".repeat(5000);
    let empty = Itself::new("", u32::MAX);
    let parsed = parse_among(FileId(1), &often, &mut Preamble::new(&opts), &empty);
    let told: Vec<&str> = parsed.errors.iter().map(|e| e.message.as_str()).collect();
    assert_eq!(told, ["headers include each other too often"]);
}

#[test]
fn mutated_scripts() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let rounds = std::env::var("TAPLINE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(4000);
    for _ in 0..rounds {
        let mut text = ACCEPTED.get(random.below(ACCEPTED.len())).copied().unwrap_or_default().to_owned();
        for _ in 0..=random.below(4) {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let at = places.get(random.below(places.len())).copied().unwrap_or(0);
            match random.below(4) {
                0 => text.truncate(at),
                1 => text.insert_str(at, PIECES.get(random.below(PIECES.len())).copied().unwrap_or_default()),
                2 if at < text.len() => {
                    text.remove(at);
                }
                _ => {
                    let other = ACCEPTED.get(random.below(ACCEPTED.len())).copied().unwrap_or_default();
                    text.insert_str(at, other);
                }
            }
        }
        exercise(&text);
    }
}

#[test]
fn soup_of_pieces() {
    let mut random = Random(42);
    for _ in 0..1000 {
        let mut text = if random.below(2) == 0 { "kprobe:f {".to_owned() } else { String::new() };
        for _ in 0..random.below(40) {
            text.push_str(PIECES.get(random.below(PIECES.len())).copied().unwrap_or_default());
        }
        exercise(&text);
    }
}

#[test]
fn every_prefix() {
    for text in ACCEPTED {
        for (at, _) in text.char_indices() {
            exercise(text.get(..at).unwrap_or_default());
        }
    }
}

#[test]
fn the_label_before_a_missing_semicolon_takes_the_whole_character() {
    for text in ["BEGIN { \"\u{fffd}\n x }", "BEGIN { @a = \"b;\n  \")\u{e9}\n @b = 1; }"] {
        exercise(text);
    }
}

#[test]
fn deep_nesting_is_refused() {
    let n = 20_000;
    let deep = [
        format!("begin {{ $x = {}1{}; }}", "(".repeat(n), ")".repeat(n)),
        format!("begin {{ $x = {}1; }}", "(".repeat(n)),
        format!("begin {{ $x = {}1; }}", "- ".repeat(n)),
        format!("begin {{ $x = 1{}; }}", " + 1".repeat(n)),
        format!("begin {{ $x = {}1; }}", "1 ? ".repeat(n)),
        format!("begin {{ $x = {}1; }}", "1 ? 1 : ".repeat(n)),
        format!("begin {{ $x = $a{}; }}", ".b".repeat(n)),
        format!("begin {{ $x = $a{}; }}", "[1]".repeat(n)),
        format!("begin {{ $x = {}1; }}", "(uint8)".repeat(n)),
        format!("begin {{ $x = {}1; }}", "(struct a *)".repeat(n)),
        format!("begin {{ $x = (uint8{})1; }}", "*".repeat(n)),
        format!("begin {{ {}{} }}", "{".repeat(n), "}".repeat(n)),
        format!("begin {{ {}", "{".repeat(n)),
        format!("begin {{ {}", "if (1) {".repeat(n)),
        format!("begin {{ if (1) {{ }} {} }}", "else if (1) { }".repeat(n)),
        format!("begin {{ $x = {}1{}; }}", "f(".repeat(n), ")".repeat(n)),
        format!("begin {{ $x = {}1{}; }}", "@[".repeat(n), "]".repeat(n)),
        format!("begin {{ let $x : {}int{}; }}", "typeof(".repeat(n), ")".repeat(n)),
        format!("begin {{ let $x : {}int{}; }}", "(".repeat(n), ",)".repeat(n)),
        format!("kprobe:f /{}1{}/ {{ }}", "(".repeat(n), ")".repeat(n)),
        format!("struct a {{ {} }};", "struct {".repeat(n)),
        format!("struct a {{ int {}x; }};", "(*".repeat(n)),
        format!("struct a {{ int {}x; }};", "*".repeat(n)),
        format!("struct a {{ int x{}; }};", "[1]".repeat(n)),
        "#if 1\n".repeat(n),
        format!("#if {}1\n#endif\n", "(".repeat(n)),
    ];
    for text in deep {
        let parsed = parse(FileId(0), &text, &ParseOptions::default());
        assert!(!parsed.errors.is_empty(), "{}", text.chars().take(60).collect::<String>());
        assert!(format(&text).is_err());
    }
}

#[test]
fn nesting_that_people_write_is_accepted() {
    let text = format!(
        "begin {{ $x = {}1{}; if (1) {{ }} {} }}",
        "(".repeat(100),
        ")".repeat(100),
        "else if (1) { }".repeat(60)
    );
    assert_eq!(parse(FileId(0), &text, &ParseOptions::default()).errors, []);
    let text = format!("kprobe:f /pid == 0{}/ {{ }}", " || pid == 1".repeat(150));
    assert_eq!(parse(FileId(0), &text, &ParseOptions::default()).errors, []);
}

#[test]
fn macros_that_never_end() {
    let mut text =
        "#define A A A\n#define B C C\n#define C B B\nstruct s { A x; B y; };\n#if A + B\n#endif\n".to_owned();
    for i in 0..40 {
        writeln!(text, "#define X{i} X{0} + X{0} + X{0}", i + 1).unwrap();
    }
    text.push_str("#if X0\n#endif\nstruct t { int a[X0]; };\nbegin { }\n");
    let _ = parse(FileId(0), &text, &ParseOptions::default());
}

#[test]
fn errors_are_bounded() {
    let text = "begin { ) }\n".repeat(1000);
    assert!(parse(FileId(0), &text, &ParseOptions::default()).errors.len() <= 20);
}

#[test]
fn long_scripts_parse_in_linear_time() {
    let line = "kprobe:f /pid == 1/ { @a[tid, comm] = count(); printf(\"%d\\n\", ((struct a *)arg0)->b + 1); }\n";
    let text = line.repeat(2000);
    let start = std::time::Instant::now();
    assert_eq!(parse(FileId(0), &text, &ParseOptions::default()).script.items.len(), 2000);
    assert!(start.elapsed().as_secs() < 5);
}
