//! Whole outputs, text and JSON, against what the reference printed for the same data.
#![allow(clippy::unwrap_used)]

use tapline_compiler::program::{
    Aggregate, Field, Manifest, MapDesc, MapRole, PrintStyle, ValueType, linear_buckets, log2_buckets,
};

use super::json::JsonSink;
use super::text::TextSink;
use super::trials::Trial;
use super::{Message, Sink, TextKind, Warning};
use crate::events::context::{Context, NoSymbols};
use crate::events::value::Value;
use crate::maps::table::Contents;
use crate::maps::view::Snapshot;

const I64: ValueType = ValueType::Int { size: 8, signed: true };

fn desc(name: &str, key: Option<ValueType>, value: ValueType) -> MapDesc {
    MapDesc {
        symbol: name.into(),
        name: name.into(),
        role: if key.is_some() { MapRole::Keyed } else { MapRole::Scalar },
        key,
        value: Some(value),
        per_cpu: false,
        max_entries: 16,
    }
}

fn words(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn buckets(total: u64, filled: &[(usize, i64)]) -> Vec<u8> {
    let mut counts = vec![0; usize::try_from(total).unwrap()];
    for &(index, count) in filled {
        *counts.get_mut(index).unwrap() = count;
    }
    words(&counts)
}

/// Text and JSON of a map with these entries.
fn printed(desc: &MapDesc, entries: &[(Vec<u8>, Vec<u8>)], top: u64, div: u64) -> (String, String) {
    let ctx = Context::new(&Manifest::default(), Box::new(NoSymbols), None);
    let contents = Contents {
        keys: entries.iter().flat_map(|(k, _)| k.iter().copied()).collect(),
        values: entries.iter().flat_map(|(_, v)| v.iter().copied()).collect(),
    };
    let (key, value) = entries.first().map(|(k, v)| (k.len(), v.len())).unwrap_or_default();
    let snapshot = Snapshot::new(desc, contents, key, value, 1);
    let style = PrintStyle::default();
    let view = snapshot.view(&ctx, desc, (top, div), &style);
    let (mut text, mut json) = (Vec::new(), Vec::new());
    TextSink::new(&mut text).map(&view).unwrap();
    JsonSink::new(&mut json).map(&view).unwrap();
    (String::from_utf8(text).unwrap(), String::from_utf8(json).unwrap())
}

fn string(s: &str) -> Vec<u8> {
    let mut bytes = s.as_bytes().to_vec();
    bytes.resize(8, 0);
    bytes
}

const STRING: ValueType = ValueType::Str { capacity: 8 };

#[test]
fn scalars_and_keys() {
    let scalar = desc("a", None, I64);
    let (text, json) = printed(&scalar, &[(vec![0; 4], words(&[-5]))], 0, 0);
    assert_eq!(text, "@a: -5\n");
    assert_eq!(json, "{\"type\": \"map\", \"data\": {\"@a\": -5}}\n");

    let keyed = desc("c", Some(STRING), I64);
    let entries = [
        (string("b"), words(&[2])),
        (string("a"), words(&[300])),
        (string("c"), words(&[1])),
        (string("aa"), words(&[1])),
    ];
    let (text, json) = printed(&keyed, &entries, 0, 0);
    assert_eq!(text, "@c[aa]: 1\n@c[c]: 1\n@c[b]: 2\n@c[a]: 300\n");
    assert_eq!(json, "{\"type\": \"map\", \"data\": {\"@c\": {\"aa\": 1, \"c\": 1, \"b\": 2, \"a\": 300}}}\n");
    assert_eq!(printed(&keyed, &entries, 2, 0).0, "@c[b]: 2\n@c[a]: 300\n");
    assert_eq!(printed(&keyed, &entries, 1, 3).0, "@c[a]: 100\n");
}

#[test]
fn tuple_keys() {
    let field = |offset, ty| Field { name: String::new(), offset, bits: None, ty };
    let pair = ValueType::Tuple { fields: vec![field(0, I64), field(8, STRING)], size: 16 };
    let map = desc("x", Some(pair), I64);
    let key = [words(&[1]), string("a b")].concat();
    let (text, json) = printed(&map, &[(key, words(&[i64::MAX]))], 0, 0);
    assert_eq!(text, "@x[1, a b]: 9223372036854775807\n");
    assert_eq!(json, "{\"type\": \"map\", \"data\": {\"@x\": {\"1,a b\": \"9223372036854775807\"}}}\n");
}

#[test]
fn means() {
    let stats = desc("s", Some(STRING), ValueType::Aggregate(Aggregate::Stats { signed: true }));
    let entries = [(string("x"), words(&[1, 100])), (string("y"), words(&[2, 11])), (string("z"), words(&[1, 50]))];
    let (text, json) = printed(&stats, &entries, 0, 10);
    assert_eq!(
        text,
        "@s[y]: { .count = 2, .average = 0, .total = 11 }\n\
         @s[z]: { .count = 1, .average = 5, .total = 50 }\n\
         @s[x]: { .count = 1, .average = 10, .total = 100 }\n"
    );
    assert_eq!(
        json,
        "{\"type\": \"stats\", \"data\": {\"@s\": {\"y\": {\"count\": 2, \"average\": 0, \"total\": 11}, \
         \"z\": {\"count\": 1, \"average\": 5, \"total\": 50}, \"x\": {\"count\": 1, \"average\": 10, \"total\": 100}}}}\n"
    );
    let average = desc("i", None, ValueType::Aggregate(Aggregate::Avg { signed: true }));
    let (text, json) = printed(&average, &[(vec![0; 4], words(&[2, 13]))], 0, 0);
    assert_eq!(text, "@i: 6\n");
    assert_eq!(json, "{\"type\": \"stats\", \"data\": {\"@i\": 6}}\n");
}

#[test]
fn histograms() {
    let log2 = desc("h", Some(STRING), ValueType::Aggregate(Aggregate::Hist { bits: 0 }));
    let total = u64::from(log2_buckets(0));
    let entries = [(string("x"), buckets(total, &[(4, 2)])), (string("w"), buckets(total, &[(2, 1)]))];
    let (text, json) = printed(&log2, &entries, 0, 2);
    assert_eq!(
        text,
        "@h[w]:\n\
         [1]                    0 |                                                    |\n\
         \n\
         @h[x]:\n\
         [4, 8)                 1 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|\n\
         \n"
    );
    assert_eq!(
        json,
        "{\"type\": \"hist\", \"data\": {\"@h\": {\"w\": [{\"min\": 1, \"max\": 1, \"count\": 0}], \
         \"x\": [{\"min\": 4, \"max\": 7, \"count\": 1}]}}}\n"
    );

    let aggregate = Aggregate::LinearHist { min: 0, max: 20, step: 10 };
    let linear = desc("m", None, ValueType::Aggregate(aggregate));
    let total = linear_buckets(0, 20, 10);
    let (text, json) = printed(&linear, &[(vec![0; 4], buckets(total, &[(0, 1), (3, 1)]))], 0, 0);
    assert_eq!(
        text,
        "@m:\n\
         (..., 0)               1 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|\n\
         [0, 10)                0 |                                                    |\n\
         [10, 20)               0 |                                                    |\n\
         [20, ...)              1 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|\n\
         \n"
    );
    assert_eq!(
        json,
        "{\"type\": \"hist\", \"data\": {\"@m\": [{\"max\": -1, \"count\": 1},{\"min\": 0, \"max\": 9, \"count\": 0},\
         {\"min\": 10, \"max\": 19, \"count\": 0},{\"min\": 20, \"count\": 1}]}}\n"
    );
}

#[test]
fn unset_scalars_are_not_there() {
    let map = desc("a", None, I64);
    let snapshot = |bytes: &[i64]| {
        let contents = Contents { keys: vec![0; 4], values: words(bytes) };
        Snapshot::new(&map, contents, 4, bytes.len() * 8, 1).is_empty()
    };
    assert!(!snapshot(&[0]));
    assert!(snapshot(&[0, 0]));
    assert!(!snapshot(&[0, 1]));
    let hist = desc("h", None, ValueType::Aggregate(Aggregate::Hist { bits: 0 }));
    let contents = Contents { keys: vec![0; 4], values: buckets(66, &[]) };
    assert!(Snapshot::new(&hist, contents, 4, 66 * 8, 1).is_empty());
}

#[test]
fn json_values() {
    let json = |value: &Value<'_>| {
        let mut out = Vec::new();
        JsonSink::new(&mut out).value(value).unwrap();
        String::from_utf8(out).unwrap().strip_prefix("{\"type\": \"value\", \"data\": ").unwrap().to_owned()
    };
    assert_eq!(json(&Value::Buf(b"a\x01b\xff")), "[97,1,98,-1]}\n");
    assert_eq!(json(&Value::Enum(2, Some("B"))), "2}\n");
    assert_eq!(json(&Value::Pointer(5)), "5}\n");
    assert_eq!(json(&Value::Unsigned(9_007_199_254_740_993, 8)), "\"9007199254740993\"}\n");
    assert_eq!(json(&Value::Unsigned(9_007_199_254_740_992, 8)), "9007199254740992}\n");
    assert_eq!(json(&Value::Signed(i64::MIN, 8)), "-9223372036854775808}\n");
    let members = vec![("a", Value::Signed(1, 1)), ("b", Value::Str { bytes: b"x\"\n", trailer: ".." })];
    assert_eq!(json(&Value::Struct(members)), "{\"a\": 1, \"b\": \"x\\\"\\n..\"}}\n");
    assert_eq!(json(&Value::Str { bytes: b"\xc3\xa9\x01\xff", trailer: "" }), "\"é\\u0001\u{fffd}\"}\n");
}

#[test]
fn json_lines() {
    let mut out = Vec::new();
    let mut sink = JsonSink::new(&mut out);
    sink.attached(2).unwrap();
    sink.text(TextKind::Printf, b"hi\n").unwrap();
    sink.text(TextKind::System, b"x").unwrap();
    sink.message(&Message { level: "ERROR", position: "stdin:8:2-21", text: b"bad 1" }).unwrap();
    let full = Warning { text: "Map full".into(), helper: Some(("map_update_elem", -7)), position: "stdin:1:55-62" };
    sink.warning(&full).unwrap();
    sink.lost(5).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"type\": \"attached_probes\", \"count\": 2, \"data\": {\"probes\": 2}}\n\
         {\"type\": \"printf\", \"data\": \"hi\\n\"}\n\
         {\"type\": \"syscall\", \"data\": \"x\"}\n\
         {\"type\": \"errorf\", \"msg\": \"bad 1\", \"filename\": \"stdin\", \"line\": 8, \"col\": 2}\n\
         {\"type\": \"helper_error\", \"msg\": \"Argument list too long\", \"helper\": \"map_update_elem\", \"retcode\": -7, \
         \"filename\": \"stdin\", \"line\": 1, \"col\": 55}\n\
         {\"type\": \"lost_events\", \"data\": {\"events\": 5}}\n"
    );
}

#[test]
fn results_of_tests() {
    use std::time::Duration;
    let failed = ["bad"];
    let tested = |passed, nanoseconds, output| {
        let (name, time) = (if passed { "good" } else { "bad" }, Duration::from_nanos(nanoseconds));
        Trial::Tested { name, passed, time, output }
    };
    let told: [Trial<'_>; 6] = [
        Trial::Tests(2),
        Trial::Test("good"),
        tested(true, 999, b"hidden"),
        Trial::Test("bad"),
        tested(false, 2_345_678, b"shown"),
        Trial::Summary { passed: 1, failed: &failed },
    ];
    let (mut text, mut json) = (TextSink::new(Vec::new()), Vec::new());
    for trial in &told {
        text.trial(trial).unwrap();
        JsonSink::new(&mut json).trial(trial).unwrap();
    }
    let (green, red, plain) = ("\x1b[32m", "\x1b[31m", "\x1b[0m");
    let expected = [
        format!("{green}[==========]{plain} Running 2 tests."),
        format!("{green}[ RUN      ]{plain} good"),
        format!("{green}[       OK ]{plain} good (999 ns)"),
        format!("{green}[ RUN      ]{plain} bad"),
        "shown".into(),
        format!("{red}[  FAILED  ]{plain} bad (2 ms)"),
        format!("{green}[==========]{plain} 2 tests ran."),
        format!("{green}[  PASSED  ]{plain} 1 test."),
        format!("{red}[  FAILED  ]{plain} 1 test, listed below:"),
        format!("{red}[  FAILED  ]{plain} bad\n"),
    ];
    assert_eq!(String::from_utf8(text.take()).unwrap(), expected.join("\n"));
    assert_eq!(
        String::from_utf8(json).unwrap(),
        "{\"type\": \"test_result\", \"data\": {\"good\": {\"duration\": 999, \"passed\": true, \"output\": \"hidden\"}}}\n\
         {\"type\": \"test_result\", \"data\": {\"bad\": {\"duration\": 2345678, \"passed\": false, \"output\": \"shown\"}}}\n"
    );
}
