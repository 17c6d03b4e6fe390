//! Reads the textual form that `print` writes. Made for tests: ids must be dense and in order where they are defined, except
//! values, which may have any numbers below a bound.

use std::fmt;

use tapline_grammar::span::Span;

use super::print::words::{self, key};
use super::{
    Block, BlockData, FuncId, Function, FunctionKind, Helper, Inst, MapDef, Module, Op, Slot, SlotData, Target,
    Terminator, Value, ValueData, Width, helpers,
};
use crate::index::{Id, IndexVec};
use crate::program::MapId;

/// Values, blocks or slots above this are refused, so that a text cannot ask for absurd amounts of memory.
const MAX_ID: u32 = 1 << 20;

/// Sections that a program can name.
const SECTIONS: &[&str] =
    &["kprobe", "kretprobe", "uprobe", "uretprobe", "tracepoint", "raw_tp", "perf_event", "fentry", "fexit", "iter"];

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// Something else should stand here.
    Expected(&'static str),
    /// A word that means nothing here.
    UnknownWord(String),
    /// A number out of range.
    Number(String),
    /// A definition out of order.
    OutOfOrder(String),
    /// Text behind the end of a line's contents.
    Trailing(String),
}

/// An error and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            ParseErrorKind::Expected(what) => write!(f, "expected {what}"),
            ParseErrorKind::UnknownWord(w) => write!(f, "unknown word `{w}`"),
            ParseErrorKind::Number(w) => write!(f, "`{w}` is not a number that fits here"),
            ParseErrorKind::OutOfOrder(w) => write!(f, "`{w}` is defined out of order"),
            ParseErrorKind::Trailing(w) => write!(f, "`{w}` is too much"),
        }
    }
}

impl std::error::Error for ParseError {}

type Result<T> = std::result::Result<T, ParseErrorKind>;

/// Reads a module.
pub fn parse(text: &str) -> std::result::Result<Module, ParseError> {
    let mut module = Module::default();
    let mut func: Option<Function> = None;
    let mut last = 0;
    for (number, line) in text.lines().enumerate() {
        last = number + 1;
        let line = line.split(';').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let mut words = Words::new(line);
        let result = match func.take() {
            None => module_line(&mut module, &mut words).map(|started| func = started),
            Some(f) if words.peek() == Some("}") => {
                words.next();
                module.functions.push(f);
                Ok(())
            }
            Some(mut f) => {
                let result = function_line(&mut f, &mut words);
                func = Some(f);
                result
            }
        };
        result.and_then(|()| words.end()).map_err(|kind| ParseError { line: number + 1, kind })?;
    }
    if func.is_some() {
        return Err(ParseError { line: last, kind: ParseErrorKind::Expected("`}`") });
    }
    Ok(module)
}

/// Words of a line; punctuation separates and is otherwise ignored, strings keep their quotes.
struct Words<'a> {
    words: std::iter::Peekable<std::vec::IntoIter<&'a str>>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        let mut words = Vec::new();
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| !c.is_whitespace() && !",():=".contains(c)) {
            rest = rest.get(start..).unwrap_or_default();
            let end = if rest.starts_with('"') {
                rest.get(1..).and_then(|r| r.find('"')).map_or(rest.len(), |i| i + 2)
            } else {
                rest.find(|c: char| c.is_whitespace() || ",():=".contains(c)).unwrap_or(rest.len())
            };
            let (word, tail) = rest.split_at(end);
            words.push(word);
            rest = tail;
        }
        Self { words: words.into_iter().peekable() }
    }
    fn peek(&mut self) -> Option<&'a str> {
        self.words.peek().copied()
    }
    fn next(&mut self) -> Option<&'a str> {
        self.words.next()
    }
    fn word(&mut self, what: &'static str) -> Result<&'a str> {
        self.next().ok_or(ParseErrorKind::Expected(what))
    }
    fn literal(&mut self, what: &'static str) -> Result<()> {
        if self.next() == Some(what) { Ok(()) } else { Err(ParseErrorKind::Expected(what)) }
    }
    fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let w = self.word("a number")?;
        w.parse().map_err(|_| ParseErrorKind::Number(w.to_owned()))
    }
    fn labelled<T: std::str::FromStr>(&mut self, label: &'static str) -> Result<T> {
        self.literal(label)?;
        self.number()
    }
    fn id<I: Id>(&mut self, prefix: &'static str) -> Result<I> {
        let w = self.word(prefix)?;
        let n: u32 = w.strip_prefix(prefix).and_then(|n| n.parse().ok()).ok_or(ParseErrorKind::Expected(prefix))?;
        if n >= MAX_ID {
            return Err(ParseErrorKind::Number(w.to_owned()));
        }
        Ok(I::new(n as usize))
    }
    fn value(&mut self) -> Result<Value> {
        self.id("v")
    }
    fn values(&mut self) -> Result<Vec<Value>> {
        let mut out = Vec::new();
        while self.peek().is_some_and(|w| w.starts_with('v')) {
            out.push(self.value()?);
        }
        Ok(out)
    }
    fn width(&mut self) -> Result<Width> {
        let w = self.word("a width")?;
        w.parse().ok().and_then(Width::from_bytes).ok_or_else(|| ParseErrorKind::Number(w.to_owned()))
    }
    fn target(&mut self) -> Result<Target> {
        Ok(Target { block: self.id("b")?, args: self.values()? })
    }
    fn key<K: Copy>(&mut self, table: &[(K, &'static str)]) -> Result<K> {
        let w = self.word("a word")?;
        key(table, w).ok_or_else(|| ParseErrorKind::UnknownWord(w.to_owned()))
    }
    fn end(&mut self) -> Result<()> {
        self.next().map_or(Ok(()), |w| Err(ParseErrorKind::Trailing(w.to_owned())))
    }
}

fn in_order<I: Id + fmt::Display>(id: I, next: I) -> Result<()> {
    if id == next { Ok(()) } else { Err(ParseErrorKind::OutOfOrder(id.to_string())) }
}

fn module_line(module: &mut Module, words: &mut Words<'_>) -> Result<Option<Function>> {
    match words.peek() {
        Some("license") => {
            words.next();
            words.word("a string")?.trim_matches('"').clone_into(&mut module.license);
        }
        Some("map") => {
            words.next();
            in_order(words.id::<MapId>("m")?, module.maps.next_id())?;
            let symbol = words.word("a symbol")?.to_owned();
            let kind = words.key(words::MAP)?;
            module.maps.push(MapDef {
                symbol,
                kind,
                key_size: words.labelled("key")?,
                value_size: words.labelled("value")?,
                max_entries: words.labelled("entries")?,
                flags: words.labelled("flags")?,
            });
        }
        Some("counters") => {
            words.next();
            module.counters = Some(words.id("m")?);
        }
        Some("rodata") => {
            words.next();
            let hex = words.word("bytes")?;
            for pair in hex.as_bytes().chunks(2) {
                let byte = std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok());
                module.rodata.push(byte.ok_or_else(|| ParseErrorKind::Number(hex.to_owned()))?);
            }
        }
        _ => {
            in_order(words.id::<FuncId>("fn")?, module.functions.next_id())?;
            return function_head(words).map(Some);
        }
    }
    Ok(None)
}

fn function_head(words: &mut Words<'_>) -> Result<Function> {
    words.literal("function")?;
    let symbol = words.word("a symbol")?.to_owned();
    let kind = match words.word("a kind of function")? {
        "program" => {
            let name = words.word("a section")?;
            let kind = name.split('/').next().unwrap_or(name);
            if !SECTIONS.contains(&kind) {
                return Err(ParseErrorKind::Expected("a section"));
            }
            let reentrant = words.peek() == Some("reentrant");
            if reentrant {
                words.next();
            }
            FunctionKind::Program { section: name.to_owned().into(), reentrant }
        }
        "sub" => FunctionKind::Sub,
        "callback" => FunctionKind::Callback(words.key(words::CALLBACK)?),
        other => return Err(ParseErrorKind::UnknownWord(other.to_owned())),
    };
    let missed_counter = if words.peek() == Some("missed") { Some(words.labelled("missed")?) } else { None };
    words.literal("{")?;
    Ok(Function {
        symbol,
        kind,
        blocks: IndexVec::new(),
        values: IndexVec::new(),
        slots: IndexVec::new(),
        span: Span::default(),
        missed_counter,
    })
}

fn function_line(func: &mut Function, words: &mut Words<'_>) -> Result<()> {
    let first = words.peek().unwrap_or_default();
    let is_id = |prefix: &str| first.strip_prefix(prefix).is_some_and(|n| n.parse::<u32>().is_ok());
    if is_id("s") {
        in_order(words.id::<Slot>("s")?, func.slots.next_id())?;
        let (size, align) = (words.labelled("slot")?, words.labelled("align")?);
        let mut flag = |name| {
            let there = words.peek() == Some(name);
            if there {
                words.next();
            }
            there
        };
        let (indexed, pinned) = (flag("indexed"), flag("pinned"));
        func.slots.push(SlotData { size, align, indexed, pinned });
        return Ok(());
    }
    if is_id("b") {
        in_order(words.id::<Block>("b")?, func.blocks.next_id())?;
        let params = words.values()?;
        for &p in &params {
            define(func, p);
        }
        func.blocks.push(BlockData { params, ..BlockData::default() });
        return Ok(());
    }
    let result = if is_id("v") { Some(words.value()?) } else { None };
    if let Some(v) = result {
        define(func, v);
    }
    let block = func.blocks.iter_mut().last().ok_or(ParseErrorKind::Expected("a block"))?;
    let word = words.word("an operation")?;
    match word {
        "jump" => block.term = Some(Terminator::Jump(words.target()?)),
        "return" => block.term = Some(Terminator::Return(words.value()?)),
        "branch" => {
            block.term = Some(Terminator::Branch {
                cond: words.key(words::COND)?,
                lhs: words.value()?,
                rhs: words.value()?,
                then: words.target()?,
                otherwise: words.target()?,
            });
        }
        _ => {
            let op = op(word, words)?;
            block.insts.push(Inst { result, op, span: Span::default() });
        }
    }
    Ok(())
}

fn define(func: &mut Function, v: Value) {
    while func.values.len() <= v.index() {
        func.values.push(ValueData::default());
    }
}

fn op(word: &str, words: &mut Words<'_>) -> Result<Op> {
    if let Some(bin) = key(words::BIN, word) {
        return Ok(Op::Bin(bin, words.value()?, words.value()?));
    }
    if let Some(ext) = key(words::EXT, word) {
        return Ok(Op::Ext(ext, words.value()?));
    }
    Ok(match word {
        "const" => Op::Const(words.number()?),
        "bswap" => Op::ByteSwap(words.number()?, words.value()?),
        "cmp" => Op::Cmp(words.key(words::COND)?, words.value()?, words.value()?),
        "load" => Op::Load { width: words.width()?, addr: words.value()?, offset: words.number()? },
        "store" => {
            Op::Store { width: words.width()?, addr: words.value()?, offset: words.number()?, value: words.value()? }
        }
        "atomic_add" => Op::AtomicAdd {
            width: words.width()?,
            addr: words.value()?,
            offset: words.number()?,
            value: words.value()?,
        },
        "atomic_xchg" => Op::AtomicXchg {
            width: words.width()?,
            addr: words.value()?,
            offset: words.number()?,
            value: words.value()?,
        },
        "zero" => {
            Op::Zero { addr: words.value()?, offset: words.number()?, len: words.number()?, align: words.number()? }
        }
        "copy" => Op::Copy {
            dst: words.value()?,
            dst_offset: words.number()?,
            src: words.value()?,
            src_offset: words.number()?,
            len: words.number()?,
            align: words.number()?,
        },
        "slot_addr" => Op::SlotAddr(words.id("s")?),
        "map" => Op::Map(words.id("m")?),
        "map_value" => Op::MapValue(words.id("m")?, words.number()?),
        "rodata" => Op::Rodata(words.number()?),
        "func_addr" => Op::FuncAddr(words.id("fn")?),
        "call" => {
            let name = words.word("a helper")?;
            let row = helpers::TABLE.iter().find(|row| row.1 == name).map(|row| row.0);
            let helper = row
                .or_else(|| name.parse().ok().map(Helper))
                .ok_or_else(|| ParseErrorKind::UnknownWord(name.to_owned()))?;
            Op::Call(helper, words.values()?)
        }
        "call_sub" => Op::CallSub(words.id("fn")?, words.values()?),
        "call_kfunc" => Op::CallKfunc(words.number()?, words.values()?),
        other => return Err(ParseErrorKind::UnknownWord(other.to_owned())),
    })
}
