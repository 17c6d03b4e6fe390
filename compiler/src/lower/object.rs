//! Objects of the kernel for helpers that want them whole: files, sockets. The verifier takes them only by pointers that it has followed
//! itself, from the context of a program that BTF describes. Everywhere else such pointers are plain numbers, which a script may compute
//! with, so that their way from the context is gone over again here.

use super::FnLower;
use crate::diagnostic::Diagnostic;
use crate::ir::{BinOp as Ir, Block, Cond, Value, Width};
use crate::program::ProgramKind;
use crate::typed::{BinOp, Expr, ExprKind};

/// The way to an object: a load at each of these offsets, beginning with the context, and what is added at the end.
#[derive(Default)]
struct Way {
    loads: Vec<u32>,
    offset: u32,
}

impl Way {
    /// To an object, or to what a pointer points to.
    fn to(e: &Expr) -> Option<Self> {
        match &e.kind {
            ExprKind::AddrOf(place) => Self::to_place(place),
            _ if e.ty.is_scalar() => Self::behind(e),
            _ => Self::to_place(e),
        }
    }

    /// To what a pointer points to.
    fn behind(pointer: &Expr) -> Option<Self> {
        if let ExprKind::Cast(inner) = &pointer.kind {
            return Self::behind(inner);
        }
        let Self { mut loads, offset } = Self::to_place(pointer)?;
        loads.push(offset);
        Some(Self { loads, offset: 0 })
    }

    fn to_place(place: &Expr) -> Option<Self> {
        match &place.kind {
            ExprKind::Field { base, offset, bits: None } => {
                let way = Self::to_place(base)?;
                Some(Self { offset: way.offset.checked_add(*offset)?, ..way })
            }
            ExprKind::Deref(pointer) => match context_offset(pointer) {
                Some(offset) => Some(Self { loads: Vec::new(), offset }),
                None => Self::behind(pointer),
            },
            _ => None,
        }
    }
}

/// Of an address in the context.
fn context_offset(address: &Expr) -> Option<u32> {
    match &address.kind {
        ExprKind::Context => Some(0),
        ExprKind::Cast(inner) => context_offset(inner),
        ExprKind::Binary(BinOp::Add, base, offset) => match offset.kind {
            ExprKind::Int(offset) => context_offset(base)?.checked_add(u32::try_from(offset).ok()?),
            _ => None,
        },
        _ => None,
    }
}

impl FnLower<'_, '_> {
    /// The error where [`Self::object`] finds no way; the value is never used.
    pub(super) fn no_object(&mut self, function: &str, e: &Expr) -> Value {
        let message = format!("{function} needs an object that the kernel hands to the program");
        let d = Diagnostic::error("no-object", message, e.span).label("this may be any address");
        let help = "write it as it comes from the event: `args.file.f_path`, `args.sk`; variables and casts from numbers lose it";
        self.m.diagnostics.push(d.help(help));
        self.b.iconst(0)
    }

    /// A pointer to an object that the verifier knows; `None` when the way there does not begin in the context. Goes to `nothing` in an
    /// iterator's last run, which has no object.
    pub(super) fn object(&mut self, e: &Expr, nothing: Block) -> Option<Value> {
        let way = Way::to(e).filter(|way| !way.loads.is_empty())?;
        let mut at = self.ctx;
        for (step, offset) in way.loads.iter().enumerate() {
            at = self.b.load(Width::W8, at, *offset as i32);
            if step == 0 && self.program.kind == ProgramKind::Iter {
                let there = self.b.block();
                self.b.branch_imm(Cond::Ne, at, 0, there, nothing);
                self.b.enter(there);
            }
        }
        Some(if way.offset == 0 { at } else { self.b.bin_imm(Ir::Add, at, i64::from(way.offset)) })
    }
}
