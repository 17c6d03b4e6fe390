//! Texts of numbers as strings. There are few of each kind: branches search for the number, and each stores its own text.

use std::borrow::Cow;

use super::strings::Length;
use super::{FnLower, Mem};
use crate::ir::{BinOp as Ir, Block, Cond, Value};
use crate::texts::Numbered;
use crate::typed::Expr;

/// Where a search ends.
struct Found {
    dst: Mem,
    /// Bytes of text, without the terminator.
    room: usize,
    /// For a number without a text.
    unknown: Block,
    end: Block,
}

impl FnLower<'_, '_> {
    /// Padded with zeros, so that the length needs no register, in which the verifier would tell all texts apart.
    pub(super) fn text_of(&mut self, what: Numbered, args: &[Expr], dst: Mem, capacity: u32) -> Length {
        let Some(number) = args.first() else { return Length::AtMost(0) };
        let mut number = self.scalar(number);
        if what == Numbered::Error {
            // The kernel's functions return errors as negative numbers.
            number = self.magnitude(number);
        }
        self.zero(dst, capacity);
        let (unknown, end) = (self.b.block(), self.b.block());
        let found = Found { dst, room: capacity.saturating_sub(1) as usize, unknown, end };
        self.search_text(&what.all(self.m.facts.arch), number, &found);
        self.b.enter(unknown);
        self.store_text(what.unknown(), &found);
        self.b.jump(end);
        self.b.enter(end);
        Length::AtMost(capacity)
    }

    fn magnitude(&mut self, number: Value) -> Value {
        let result = self.b.variable();
        self.b.set(result, number);
        let (negative, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::SLt, number, 0, negative, end);
        self.b.enter(negative);
        let zero = self.b.iconst(0);
        let positive = self.b.bin(Ir::Sub, zero, number);
        self.b.set(result, positive);
        self.b.jump(end);
        self.b.enter(end);
        self.b.get(result)
    }

    /// Halves the texts until one is left.
    fn search_text(&mut self, texts: &[(u64, Cow<'static, str>)], number: Value, found: &Found) {
        match texts {
            [] => self.b.jump(found.unknown),
            [(own, text)] => {
                let hit = self.b.block();
                self.b.branch_imm(Cond::Eq, number, own.cast_signed(), hit, found.unknown);
                self.b.enter(hit);
                self.store_text(text, found);
                self.b.jump(found.end);
            }
            _ => {
                let (low, high) = texts.split_at(texts.len() / 2);
                let (below, from) = (self.b.block(), self.b.block());
                let first = high.first().map_or(0, |(number, _)| number.cast_signed());
                self.b.branch_imm(Cond::ULt, number, first, below, from);
                self.b.enter(below);
                self.search_text(low, number, found);
                self.b.enter(from);
                self.search_text(high, number, found);
            }
        }
    }

    fn store_text(&mut self, text: &str, found: &Found) {
        let bytes: Vec<u8> = text.bytes().take(found.room).collect();
        self.store_bytes(found.dst, &bytes);
    }
}
