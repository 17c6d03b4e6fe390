//! The syntax tree of a script: what was written, with a span on every node, and no meaning.
//!
//! Names are kept as written; nothing here knows builtins, types or probes. Macros, imports, parameters and wildcards
//! are still in the tree: the compiler's `expand` removes them.

use crate::c_ast::CItem;
use crate::span::{Span, Spanned};

/// A name as written, without sigil: `x` of `$x` and of `@x`; the anonymous map `@` has the empty name.
pub type Name = Spanned<String>;

/// One source file.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The interpreter line, without its newline, if there is one.
    pub shebang: Option<Spanned<String>>,
    /// Everything else, in textual order.
    pub items: Vec<Item>,
}

/// What may stand at the top level.
#[derive(Clone, Debug)]
pub enum Item {
    /// A C declaration or preprocessor line. The order rule (C definitions come first) is checked by `expand`.
    C(CItem),
    /// `config = { k = v; … }`.
    Config(Config),
    /// `import "file"`.
    Import(Import),
    /// `let @m = hash(N);`.
    MapDecl(MapDecl),
    /// `macro name($v, expr, @m) { … }`.
    Macro(MacroDef),
    /// `fn name($a : T, …) : T { … }`.
    Fn(FnDef),
    /// One or more attach points with an action.
    Probe(Probe),
}

/// A config block.
#[derive(Clone, Debug)]
pub struct Config {
    /// Assignments in order.
    pub entries: Vec<ConfigEntry>,
    /// The whole block.
    pub span: Span,
}

/// `name = value` in a config block.
#[derive(Clone, Debug)]
pub struct ConfigEntry {
    /// As written, any case, with or without the `BPFTRACE_` prefix.
    pub name: Name,
    /// The value.
    pub value: Spanned<ConfigValue>,
}

/// A value in a config block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigValue {
    /// An integer.
    Int(u64),
    /// A quoted string or a bare word.
    Str(String),
    /// `true` or `false`.
    Bool(bool),
}

/// `import "path";`.
#[derive(Clone, Debug)]
pub struct Import {
    /// The path as written, unescaped.
    pub path: Name,
    /// The statement.
    pub span: Span,
}

/// `let @name = kind(max_entries);`.
#[derive(Clone, Debug)]
pub struct MapDecl {
    /// Map name without `@`.
    pub map: Name,
    /// `hash`, `lruhash`, `percpuhash`, `percpulruhash`, or what was written instead.
    pub kind: Name,
    /// The size.
    pub max_entries: Box<Expr>,
    /// The statement.
    pub span: Span,
}

/// A macro definition.
#[derive(Clone, Debug)]
pub struct MacroDef {
    /// Its name.
    pub name: Name,
    /// Its parameters.
    pub params: Vec<MacroParam>,
    /// Its body.
    pub body: Block,
    /// The definition.
    pub span: Span,
}

/// A macro parameter; the sigil decides what the argument must be.
#[derive(Clone, Debug)]
pub enum MacroParam {
    /// `$v`: a scratch variable, by reference.
    Var(Name),
    /// `@m`: a map, by reference.
    Map(Name),
    /// `e`: an expression, substituted.
    Expr(Name),
}

/// A user function.
#[derive(Clone, Debug)]
pub struct FnDef {
    /// Its name.
    pub name: Name,
    /// Its parameters (names without `$`).
    pub params: Vec<(Name, TypeExpr)>,
    /// Its return type; `None` is void.
    pub ret: Option<TypeExpr>,
    /// Its body.
    pub body: Block,
    /// The definition.
    pub span: Span,
}

/// A probe with its action.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The reserved `name=` prefix.
    pub name: Option<Name>,
    /// At least one attach point.
    pub attach_points: Vec<AttachPoint>,
    /// The expression between slashes.
    pub predicate: Option<Expr>,
    /// The action.
    pub body: Block,
    /// From the first attach point to the closing brace.
    pub span: Span,
}

/// One attach point as written, for instance `uprobe:/bin/bash:"read line"+4`.
#[derive(Clone, Debug)]
pub struct AttachPoint {
    /// The whole text with white space trimmed, quotes kept; `$1` parameters are still in it.
    pub raw: String,
    /// Split at `:` outside quotes, quotes removed, `$N` still in place. The first part is the provider.
    pub parts: Vec<Spanned<String>>,
    /// Written behind `||`: taken only if the alternative before it does not exist.
    pub alternative: bool,
    /// Where it stands.
    pub span: Span,
}

/// `{ … }`: statements, and a value when the last statement is an expression without semicolon.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The statements.
    pub stmts: Vec<Stmt>,
    /// The trailing expression without semicolon. In a probe body it is treated as a statement.
    pub value: Option<Box<Expr>>,
    /// With braces.
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// Without the semicolon.
    pub span: Span,
}

/// The kinds of statements.
#[derive(Clone, Debug)]
pub enum StmtKind {
    /// An expression for its effect (calls, `++`, ternaries, block expressions).
    Expr(Expr),
    /// `let $x`, `let $x : T`, `let $x = e`, `let $x : T = e`.
    Let {
        /// Name without `$`.
        var: Name,
        /// The declared type.
        ty: Option<TypeExpr>,
        /// The initial value.
        init: Option<Expr>,
    },
    /// `target = e`, or `target op= e` when `op` is set. The target is a variable, a map (with key), a field or element.
    Assign {
        /// What is assigned to.
        target: Expr,
        /// The operator of a compound assignment.
        op: Option<BinOp>,
        /// The value.
        value: Expr,
    },
    /// `_ = e`.
    Discard(Expr),
    /// `if`, also `if comptime`.
    If(IfStmt),
    /// `while (cond) { … }`.
    While {
        /// The condition.
        cond: Expr,
        /// The body.
        body: Block,
    },
    /// `unroll (n) { … }`.
    Unroll {
        /// The count.
        count: Expr,
        /// The body.
        body: Block,
    },
    /// `for ($v : a..b) { … }`.
    ForRange {
        /// Name without `$`.
        var: Name,
        /// First value.
        start: Expr,
        /// One past the last value.
        end: Expr,
        /// The body.
        body: Block,
    },
    /// `for ($kv : @map) { … }`.
    ForMap {
        /// Name without `$`.
        var: Name,
        /// Map name without `@`.
        map: Name,
        /// The body.
        body: Block,
    },
    /// `break`.
    Break,
    /// `continue`.
    Continue,
    /// `return`, `return e`.
    Return(Option<Expr>),
    /// `import "x"` inside a macro.
    Import(Import),
    /// A bare block.
    Block(Block),
    /// What recovery left where a statement could not be parsed.
    Error,
}

/// `if (c) { … } else …`; also an expression.
#[derive(Clone, Debug)]
pub struct IfStmt {
    /// `if comptime c`: decided while compiling, the other branch is dropped unseen.
    pub comptime: bool,
    /// The condition.
    pub cond: Box<Expr>,
    /// The first branch.
    pub then: Block,
    /// `else { … }`, or `else if …` as a block that holds only that.
    pub otherwise: Option<Block>,
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands, with its parentheses when it has some.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// An integer literal, scaled when it has a duration or exponent.
    Int {
        /// Its value.
        value: u64,
        /// As written.
        text: String,
    },
    /// A string literal, unescaped; may hold any bytes.
    Str(Vec<u8>),
    /// `true`, `false`.
    Bool(bool),
    /// A bare name: builtin, enum constant, `#define`, macro or its parameter.
    Ident(String),
    /// `$x`, without `$`.
    Var(String),
    /// `$1`.
    Param(u32),
    /// `$#`.
    ParamCount,
    /// `@x`, without `@`; `@x[k, …]` when `key` is set. Several keys make a tuple.
    Map {
        /// Name without `@`; empty for the anonymous map.
        name: String,
        /// The key expressions as written between the brackets.
        key: Option<Vec<Expr>>,
    },
    /// `f(a, …)`.
    Call {
        /// The function's name.
        name: Name,
        /// Its arguments. A type in argument position is `ExprKind::Type`.
        args: Vec<Expr>,
    },
    /// A prefix operator.
    Unary {
        /// The operator.
        op: UnOp,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `++`, `--`.
    IncDec {
        /// +1 or -1.
        inc: bool,
        /// Before the operand.
        prefix: bool,
        /// The operand: variable or map.
        expr: Box<Expr>,
    },
    /// An infix operator.
    Binary {
        /// The operator.
        op: BinOp,
        /// Left operand.
        lhs: Box<Expr>,
        /// Right operand.
        rhs: Box<Expr>,
    },
    /// `c ? a : b`; `a` missing in `c ?: b`.
    Ternary {
        /// The condition.
        cond: Box<Expr>,
        /// The value when true; the condition itself when missing.
        then: Option<Box<Expr>>,
        /// The value when false.
        otherwise: Box<Expr>,
    },
    /// `e.name` or `e->name`.
    Field {
        /// The aggregate or pointer.
        base: Box<Expr>,
        /// The field.
        name: Name,
        /// Written with the arrow.
        arrow: bool,
    },
    /// `e.0`.
    TupleIndex {
        /// The tuple.
        base: Box<Expr>,
        /// The position.
        index: u32,
    },
    /// `e[i]`.
    Index {
        /// Array, pointer, string or tuple.
        base: Box<Expr>,
        /// The index.
        index: Box<Expr>,
    },
    /// `(T)e`.
    Cast {
        /// The target type.
        ty: TypeExpr,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `(a, b)`, `(a,)`, `()`.
    Tuple(Vec<Expr>),
    /// `(a = 1, b = 2)`.
    Record(Vec<(Name, Expr)>),
    /// `sizeof(T)`, `sizeof(e)`.
    SizeOf(Box<TypeOrExpr>),
    /// `offsetof(T, a.b.c)`, `offsetof(e, a)`.
    OffsetOf {
        /// The aggregate.
        of: Box<TypeOrExpr>,
        /// The path of fields.
        fields: Vec<Name>,
    },
    /// `has_field(T, a.b.c)`, `has_field(e, a)`: whether there are such fields.
    HasField {
        /// The aggregate.
        of: Box<TypeOrExpr>,
        /// The path of fields.
        fields: Vec<Name>,
    },
    /// `typeinfo(T)`, `typeinfo(e)`; fields `.base_type`, `.full_type` follow as `Field`.
    TypeInfo(Box<TypeOrExpr>),
    /// A type where an expression may stand (macro arguments through `typeof`).
    Type(Box<TypeExpr>),
    /// `{ …; e }` as a value.
    Block(Block),
    /// `if` as a value.
    If(IfStmt),
    /// `comptime e`.
    Comptime(Box<Expr>),
    /// What recovery left where an expression could not be parsed.
    Error,
}

/// A type or an expression whose type is meant.
#[derive(Clone, Debug)]
pub enum TypeOrExpr {
    /// A type name.
    Type(TypeExpr),
    /// An expression, never executed. A bare name that may be either is `Expr(Ident)`.
    Expr(Expr),
}

/// A type as written: `struct sock *[4]`, `uint8`, `string[16]`, `typeof(e)`.
#[derive(Clone, Debug)]
pub struct TypeExpr {
    /// Which name.
    pub base: TypeBase,
    /// `*`, `[N]` from left to right.
    pub suffixes: Vec<TypeSuffix>,
    /// Where it stands.
    pub span: Span,
}

/// The name part of a type.
#[derive(Clone, Debug)]
pub enum TypeBase {
    /// `struct name`.
    Struct(Name),
    /// `union name`.
    Union(Name),
    /// `enum name`.
    Enum(Name),
    /// `uint64`, `string`, `void`, `unsigned long` (words joined by one blank), a typedef.
    Named(Name),
    /// `typeof(x)`.
    TypeOf(Box<TypeOrExpr>),
    /// `(T1, T2)`.
    Tuple(Vec<TypeExpr>),
}

/// What follows the name of a type.
#[derive(Clone, Debug)]
pub enum TypeSuffix {
    /// `*`.
    Pointer,
    /// `[N]`, or `[]` whose length comes from the operand of a cast.
    Array(Option<Box<Expr>>),
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnOp {
    /// `!`
    Not,
    /// `~`
    BitNot,
    /// `-`
    Neg,
    /// `+`
    Plus,
    /// `*`
    Deref,
    /// `&`
    AddrOf,
}

/// Infix operators, also of compound assignments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum BinOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    BitAnd,
    BitOr,
    BitXor,
    Shl,
    Shr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}
