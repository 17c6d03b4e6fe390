//! Decoding of records, well formed and not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use tapline_compiler::program::{
    Action, ActionKind, Conversion, Field, Format, FormatPiece, FormatSpec, Manifest, Record, StackMode, ValueType,
};

use super::actions::{Actions, Outcome};
use super::context::{Context, NoSymbols};
use super::decode::{decode, decode_record};
use super::value::Value;
use crate::output::text::TextSink;

fn context() -> Context {
    let mut manifest = Manifest::default();
    manifest.config.str_trunc_trailer = "..".into();
    Context::new(&manifest, Box::new(NoSymbols), None)
}

fn field(offset: u32, ty: ValueType) -> Field {
    Field { name: String::new(), offset, bits: None, ty }
}

const U32: ValueType = ValueType::Int { size: 4, signed: false };

/// `(u32, str, buf, i16)`.
fn record() -> Record {
    Record {
        fields: vec![
            field(8, U32),
            field(12, ValueType::Str { capacity: 8 }),
            field(16, ValueType::Buf { capacity: 8 }),
            field(20, ValueType::Int { size: 2, signed: true }),
        ],
        fixed_size: 24,
    }
}

fn bytes() -> Vec<u8> {
    let mut data = vec![0, 0, 0, 0, 0, 0, 0, 0];
    data.extend(7u32.to_le_bytes());
    data.extend(4u32.to_le_bytes());
    data.extend(2u32.to_le_bytes());
    data.extend((-3i16).to_le_bytes());
    data.extend([0, 0]);
    data.extend(b"abc\0\x01\x02");
    data
}

fn decoded<'a>(ctx: &'a Context, record: &'a Record, data: &'a [u8]) -> Vec<Value<'a>> {
    let mut out = Vec::new();
    decode_record(ctx, record, data, &mut out);
    out
}

#[test]
fn scalars_and_tail() {
    let (ctx, record, data) = (context(), record(), bytes());
    assert_eq!(
        decoded(&ctx, &record, &data),
        [Value::Unsigned(7, 4), Value::Str { bytes: b"abc", trailer: "" }, Value::Buf(&[1, 2]), Value::Signed(-3, 2)]
    );
}

#[test]
fn a_string_that_fills_its_capacity_was_cut() {
    let (ctx, ty) = (context(), ValueType::Str { capacity: 4 });
    assert_eq!(decode(&ctx, &ty, b"abcd"), Value::Str { bytes: b"abcd", trailer: ".." });
    // What str() reads without a length has room for one character more than is shown, and its terminator.
    let longest = [vec![b'x'; 1024], vec![0]].concat();
    for (text, trailer) in [(&longest[..], ".."), (&longest[1..], "")] {
        let bytes = &text[..text.len() - 1];
        assert_eq!(decode(&ctx, &ValueType::Str { capacity: 1025 }, text), Value::Str { bytes, trailer });
    }
    assert_eq!(decode(&ctx, &ty, b"abc\0"), Value::Str { bytes: b"abc", trailer: "" });
    assert_eq!(decode(&ctx, &ty, b"ab"), Value::Str { bytes: b"ab", trailer: "" });
}

#[test]
fn no_prefix_of_a_record_panics() {
    let (ctx, record, data) = (context(), record(), bytes());
    for end in 0..data.len() {
        assert_eq!(decoded(&ctx, &record, &data[..end]).len(), 4);
    }
    // Lengths that point past the end.
    let mut wild = data.clone();
    wild[12..20].fill(0xff);
    assert_eq!(decoded(&ctx, &record, &wild).len(), 4);
}

#[test]
fn every_type_survives_any_bytes() {
    let ctx = context();
    let member = |ty| vec![field(3, ty)];
    let types = vec![
        ValueType::Bool,
        ValueType::Pointer,
        ValueType::KernelSymbol,
        ValueType::UserSymbol,
        ValueType::Stack { user: true, mode: StackMode::Perf, limit: 127 },
        ValueType::Inet,
        ValueType::Mac,
        ValueType::Username,
        ValueType::ErrorText,
        ValueType::SignalName,
        ValueType::SyscallName,
        ValueType::ProbeName,
        ValueType::Strings,
        ValueType::Enum { size: 4, names: vec![(1, "A".into())] },
        ValueType::Array { elem: Box::new(U32), stride: 0, len: u32::MAX },
        ValueType::Array { elem: Box::new(U32), stride: 4, len: u32::MAX },
        ValueType::Tuple { fields: member(ValueType::Str { capacity: u32::MAX }), size: 4 },
        ValueType::Struct { fields: member(ValueType::Buf { capacity: 3 }), size: u32::MAX },
    ];
    for ty in &types {
        for len in [0, 1, 3, 4, 7, 8, 24, 64] {
            let data = vec![0xff; len];
            let mut out = Vec::new();
            super::text::write_value(&decode(&ctx, ty, &data), &mut out);
        }
    }
}

#[test]
fn bitfields_and_enums() {
    let ctx = context();
    let bits =
        |offset, width, signed| Field { bits: Some((offset, width)), ..field(0, ValueType::Int { size: 4, signed }) };
    let ty = ValueType::Struct { fields: vec![bits(0, 3, false), bits(3, 5, true)], size: 4 };
    let Value::Struct(members) = decode(&ctx, &ty, &[0b1111_1101, 0, 0, 0]) else { unreachable!() };
    assert_eq!(members[0].1, Value::Unsigned(5, 4));
    assert_eq!(members[1].1, Value::Signed(-1, 4));

    let ty = ValueType::Enum { size: 4, names: vec![(-1, "NONE".into()), (2, "TWO".into())] };
    assert_eq!(decode(&ctx, &ty, &[0xff; 4]), Value::Enum(-1, Some("NONE")));
    assert_eq!(decode(&ctx, &ty, &[2, 0, 0, 0]), Value::Enum(2, Some("TWO")));
    assert_eq!(decode(&ctx, &ty, &[9, 0, 0, 0]), Value::Enum(9, None));
}

#[test]
fn actions_print_and_end() {
    let mut manifest = Manifest::default();
    let spec = |arg, conversion| FormatPiece::Spec(FormatSpec { arg, conversion, ..FormatSpec::default() });
    let pieces = vec![
        spec(0, Conversion::Unsigned),
        FormatPiece::Literal(b" ".to_vec()),
        spec(1, Conversion::String),
        FormatPiece::Literal(b"\n".to_vec()),
    ];
    let status = Record { fields: vec![field(8, U32)], fixed_size: 16 };
    let action = |kind, record| Action { kind, record, percentiles: Vec::new() };
    manifest.actions = vec![
        action(ActionKind::Printf(Format { pieces }), record()),
        action(ActionKind::Exit, status),
        action(ActionKind::PrintValue, record()),
    ];
    let ctx = context();
    let mut out = Vec::new();
    let mut sink = TextSink::new(&mut out);
    let mut actions = Actions::new(&manifest, &ctx, &[], &mut sink);
    let mut data = bytes();
    assert_eq!(actions.run(&data).unwrap(), Outcome::Continue);
    data[0] = 1;
    assert_eq!(actions.exit_status(&data), Some(7));
    assert_eq!(actions.run(&data).unwrap(), Outcome::Exit(7));
    data[0] = 2;
    assert_eq!(actions.run(&data).unwrap(), Outcome::Continue);
    data[0] = 99;
    assert_eq!(actions.run(&data).unwrap(), Outcome::Continue);
    assert_eq!(actions.run(&[]).unwrap(), Outcome::Continue);
    assert_eq!(String::from_utf8_lossy(&out), "7 abc\n-3\n0 \n");
}
