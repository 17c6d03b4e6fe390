//! The lattice of inference. What flows into a variable, key or value is joined; literals stay flexible inside a
//! [`Flow`] until something with a type meets them, as in `@[1] = …; @[pid] = …`, whose key is `uint32`.

use std::rc::Rc;

use crate::program::{Aggregate, Clock};
use crate::types::{AddrSpace, IntType, Type};

/// What is known about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Literals that are not negative, the largest of them: any integer type that holds it will do.
    Flex(u64),
    /// A tuple member by member.
    Tuple(Vec<Flow>),
    /// `uint64` nanoseconds of a clock other than that of `nsecs`: `strftime()` asks for it.
    Time(Clock),
    /// A type.
    Of(Type),
}

/// Why two flows do not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// No type holds both.
    Types,
    /// A number that stands for its text meets a string: such texts must be strings everywhere.
    Text,
}

/// How a value goes into a place of a fixed integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Every value of it is kept.
    Whole,
    /// Bits or the sign may be lost, which is worth a warning.
    Cut,
    /// Not at all.
    No,
}

/// Nested tuples are joined to this depth: `$x = ($x, 1)` must end.
const MAX_DEPTH: u32 = 8;

impl Flow {
    /// The type that a value of this flow gets.
    pub fn ty(&self) -> Type {
        match self {
            Self::Flex(value) => Type::Int(smallest(i128::from(*value))),
            Self::Tuple(members) => Type::Tuple(members.iter().map(Self::ty).collect()),
            Self::Time(_) => Type::U64,
            Self::Of(ty) => ty.clone(),
        }
    }

    /// The integer type, when it is one.
    pub fn integer(&self) -> Option<IntType> {
        match self.ty() {
            Type::Int(int) | Type::Enum { int, .. } => Some(int),
            _ => None,
        }
    }

    /// How an integer goes into a type that does not grow.
    pub fn fits(&self, into: IntType) -> Fit {
        match (self, self.integer()) {
            (Self::Flex(value), _) if holds(into, i128::from(*value)) => Fit::Whole,
            (_, None) => Fit::No,
            (Self::Of(_) | Self::Time(_), Some(int)) if join_ints(into, int) == into => Fit::Whole,
            _ => Fit::Cut,
        }
    }

    /// The flow of a member of a tuple.
    pub fn member(&self, index: usize) -> Option<Self> {
        match self {
            Self::Tuple(members) => members.get(index).cloned(),
            Self::Of(Type::Tuple(members)) => members.get(index).cloned().map(Self::Of),
            Self::Of(Type::Record(members)) => members.get(index).map(|(_, ty)| Self::Of(ty.clone())),
            _ => None,
        }
    }

    /// The least flow that both fit into. The order counts for truth values only: an integer takes one in, not the other way round.
    pub fn join(&self, other: &Self) -> Result<Self, Conflict> {
        self.join_within(other, MAX_DEPTH)
    }

    fn join_within(&self, other: &Self, depth: u32) -> Result<Self, Conflict> {
        let Some(depth) = depth.checked_sub(1) else { return Err(Conflict::Types) };
        Ok(match (self, other) {
            (Self::Flex(a), Self::Flex(b)) => Self::Flex(*a.max(b)),
            (Self::Time(clock), Self::Flex(_)) | (Self::Flex(_), Self::Time(clock)) => Self::Time(*clock),
            (Self::Time(a), Self::Time(b)) if a == b => Self::Time(*a),
            (Self::Time(_), _) => Self::Of(Type::U64).join_within(other, depth)?,
            (_, Self::Time(_)) => self.join_within(&Self::Of(Type::U64), depth)?,
            // Older scripts keep truth values in variables that begin as 0.
            (Self::Flex(value), Self::Of(Type::Bool)) => Self::Of(Type::Int(smallest(i128::from(*value)))),
            (Self::Flex(value), Self::Of(ty)) | (Self::Of(ty), Self::Flex(value)) => match ty {
                Type::Int(int) | Type::Enum { int, .. } => {
                    Self::Of(Type::Int(widen_for(*int, *value).ok_or(Conflict::Types)?))
                }
                // A null pointer.
                Type::Ptr(..) if *value == 0 => Self::Of(ty.clone()),
                _ => return Err(Conflict::Types),
            },
            (Self::Tuple(a), Self::Tuple(b)) if a.len() == b.len() => {
                Self::Tuple(a.iter().zip(b).map(|(a, b)| a.join_within(b, depth)).collect::<Result<_, _>>()?)
            }
            (Self::Tuple(a), Self::Of(Type::Tuple(b))) | (Self::Of(Type::Tuple(b)), Self::Tuple(a))
                if a.len() == b.len() =>
            {
                let typed = matches!(self, Self::Of(_));
                let members = a.iter().zip(b.iter()).map(|(a, b)| {
                    let b = Self::Of(b.clone());
                    if typed { b.join_within(a, depth) } else { a.join_within(&b, depth) }
                });
                Self::Tuple(members.collect::<Result<_, _>>()?)
            }
            (Self::Of(a), Self::Of(b)) => Self::Of(join_types(a, b, depth)?),
            _ => return Err(Conflict::Types),
        })
    }
}

fn join_types(a: &Type, b: &Type, depth: u32) -> Result<Type, Conflict> {
    if a == b {
        return Ok(a.clone());
    }
    let Some(depth) = depth.checked_sub(1) else { return Err(Conflict::Types) };
    Ok(match (a, b) {
        (Type::Int(a) | Type::Enum { int: a, .. }, Type::Int(b) | Type::Enum { int: b, .. }) => {
            Type::Int(join_ints(*a, *b))
        }
        (Type::Int(int), Type::Bool) => Type::Int(*int),
        (Type::Str(a), Type::Str(b)) => Type::Str(*a.max(b)),
        (Type::Buf(a), Type::Buf(b)) => Type::Buf(*a.max(b)),
        (Type::Ptr(x, space), Type::Ptr(y, other)) => {
            // A pointer to nothing in particular takes on the other's target.
            let target = if **x == Type::Void { y } else { x };
            if **x != Type::Void && **y != Type::Void && !same_target(x, y, depth) {
                return Err(Conflict::Types);
            }
            Type::Ptr(Rc::clone(target), join_spaces(*space, *other))
        }
        (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
            let members = a.iter().zip(b.iter()).map(|(a, b)| join_types(a, b, depth));
            Type::Tuple(members.collect::<Result<_, _>>()?)
        }
        (Type::Record(a), Type::Record(b)) if a.len() == b.len() => {
            let members = a.iter().map(|(name, ty)| {
                let (_, other) = b.iter().find(|(other, _)| other == name).ok_or(Conflict::Types)?;
                Ok((name.clone(), join_types(ty, other, depth)?))
            });
            Type::Record(members.collect::<Result<_, _>>()?)
        }
        (a, b) if a.can_be_text() && (b.can_be_text() || matches!(b, Type::Str(_))) => return Err(Conflict::Text),
        (Type::Str(_), b) if b.can_be_text() => return Err(Conflict::Text),
        (Type::Aggregate(a), Type::Aggregate(b)) => Type::Aggregate(join_aggregates(*a, *b)?),
        _ => return Err(Conflict::Types),
    })
}

/// Pointers to the same kind of thing: the first one's type stays. What integers and which address space does not count.
fn same_target(a: &Type, b: &Type, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match (a, b) {
        (Type::Int(_), Type::Int(_)) => true,
        (Type::Ptr(a, _), Type::Ptr(b, _)) => same_target(a, b, depth),
        (a, b) => a == b,
    }
}

/// `sum(pid)` and `sum(-1)` on one map: the signed form holds both.
fn join_aggregates(a: Aggregate, b: Aggregate) -> Result<Aggregate, Conflict> {
    use Aggregate::{Avg, Max, Min, Series, Stats, Sum};
    Ok(match (a, b) {
        (Sum { .. }, Sum { .. }) => Sum { signed: true },
        (Min { .. }, Min { .. }) => Min { signed: true },
        (Max { .. }, Max { .. }) => Max { signed: true },
        (Avg { .. }, Avg { .. }) => Avg { signed: true },
        (Stats { .. }, Stats { .. }) => Stats { signed: true },
        (Series { interval_ns, slots, fold, .. }, Series { interval_ns: i, slots: s, fold: f, .. })
            if (interval_ns, slots, fold) == (i, s, f) =>
        {
            Series { interval_ns, slots, fold, signed: true }
        }
        _ => return Err(Conflict::Types),
    })
}

fn join_spaces(a: AddrSpace, b: AddrSpace) -> AddrSpace {
    match (a, b) {
        (a, b) if a == b => a,
        (AddrSpace::User, _) | (_, AddrSpace::User) => AddrSpace::User,
        // What comes from different places the verifier does not follow.
        _ => AddrSpace::Kernel,
    }
}

/// The smallest type for two integer types; of `uint64` and a signed one `int64`, which loses the upper half.
pub fn join_ints(a: IntType, b: IntType) -> IntType {
    if a.signed == b.signed {
        return IntType { size: a.size.max(b.size), signed: a.signed };
    }
    let (signed, unsigned) = if a.signed { (a, b) } else { (b, a) };
    let size = if signed.size > unsigned.size { signed.size } else { (unsigned.size * 2).min(8) };
    IntType { size, signed: true }
}

/// The type itself when it holds the literal, else a wider one of the same sign, if there is one.
fn widen_for(int: IntType, value: u64) -> Option<IntType> {
    let mut int = int;
    while int.size < 8 && !holds(int, i128::from(value)) {
        int.size *= 2;
    }
    Some(int).filter(|int| holds(*int, i128::from(value)))
}

/// True when a type can hold a number.
pub fn holds(int: IntType, value: i128) -> bool {
    let bits = u32::from(int.size) * 8;
    if int.signed {
        let limit = 1i128 << (bits - 1);
        value >= -limit && value < limit
    } else {
        value >= 0 && value < 1i128 << bits
    }
}

/// The smallest signed type for a number, `uint64` above the signed ones.
pub fn smallest(value: i128) -> IntType {
    for size in [1, 2, 4, 8] {
        let int = IntType { size, signed: true };
        if holds(int, value) {
            return int;
        }
    }
    IntType::U64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(size: u8, signed: bool) -> Flow {
        Flow::Of(Type::Int(IntType { size, signed }))
    }

    #[test]
    fn literals_adopt_the_type_they_meet() {
        assert_eq!(Flow::Flex(1).join(&int(4, false)), Ok(int(4, false)));
        assert_eq!(Flow::Flex(70_000).join(&int(2, true)), Ok(int(4, true)));
        assert_eq!(Flow::Flex(u64::MAX).join(&int(8, false)), Ok(int(8, false)));
        assert_eq!(Flow::Flex(u64::MAX).join(&int(8, true)), Err(Conflict::Types));
        assert_eq!(Flow::Flex(0).join(&Flow::Time(Clock::Tai)), Ok(Flow::Time(Clock::Tai)));
        assert_eq!(Flow::Time(Clock::Wall).join(&Flow::Time(Clock::Tai)), Ok(int(8, false)));
        assert_eq!(Flow::Flex(1).join(&Flow::Flex(300)).map(|f| f.ty()), Ok(int(2, true).ty()));
        assert_eq!(smallest(200), IntType { size: 2, signed: true });
        assert_eq!(smallest(-128), IntType { size: 1, signed: true });
    }

    #[test]
    fn signs_meet_in_a_wider_type() {
        assert_eq!(int(4, false).join(&int(1, true)), Ok(int(8, true)));
        assert_eq!(int(1, false).join(&int(4, true)), Ok(int(4, true)));
        assert_eq!(int(8, false).join(&int(8, true)), Ok(int(8, true)));
    }

    #[test]
    fn tuples_join_member_by_member() {
        let literal = Flow::Tuple(vec![Flow::Flex(1), Flow::Of(Type::Str(2))]);
        let typed = Flow::Of(Type::Tuple([Type::U32, Type::Str(16)].into()));
        assert_eq!(literal.join(&typed).map(|f| f.ty()), Ok(typed.ty()));
        assert_eq!(literal.join(&Flow::Flex(1)), Err(Conflict::Types));
        assert_eq!(Flow::Of(Type::ProbeName).join(&Flow::Of(Type::Str(4))), Err(Conflict::Text));
    }
}
