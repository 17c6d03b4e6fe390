//! The tokens of code: everything between braces, predicates and the lines of the top level that are not attach points.
//!
//! The rules that settle what one look at the characters cannot:
//!
//! - **Names with a sigil** are one token: `$x`, `$1`, `$#`, `@x`, `@`. A `@` that no name follows is the anonymous map.
//! - **Numbers** take every letter, digit and `_` that follows, so that `1_000UL`, `0x1f`, `1e6` and `10ms` are one
//!   token each; `literal` decides what they mean. A `.` never belongs to a number: `$kv.0.1` and `0..10` need no rule.
//! - **Comments** are tokens here; `stream` puts them aside for the formatter.
//! - **Division and predicates**, **casts** and **types** need the neighbourhood: see `stream`.
//! - **Attach points** have no tokens: see `header`.

use logos::Logos;

use crate::ast::BinOp;

/// A token with its byte range in the file.
pub(crate) type Located<'s> = (u32, Tok<'s>, u32);

/// A token of code. Variants without a pattern are made by `stream` out of others.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r\n\f\v]+")]
#[logos(skip r"\\\r?\n")]
#[rustfmt::skip]
pub(crate) enum Tok<'s> {
    #[regex(r"//[^\n]*", allow_greedy = true)]
    LineComment,
    #[regex(r"/\*([^*]|\*+[^*/])*\*+/")]
    BlockComment,
    #[token("/*")]
    OpenComment,

    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Ident(&'s str),
    #[regex(r"\$[A-Za-z_][A-Za-z0-9_]*", |lex| lex.slice().get(1..))]
    Var(&'s str),
    #[regex(r"\$[0-9]+", |lex| lex.slice().get(1..))]
    Param(&'s str),
    #[token("$#")]
    ParamCount,
    #[regex(r"@([A-Za-z_][A-Za-z0-9_]*)?", |lex| lex.slice().get(1..))]
    Map(&'s str),
    #[regex(r"[0-9][0-9A-Za-z_]*")]
    Int(&'s str),
    #[regex(r#""([^"\\\n]|\\[^\n])*""#)]
    Str(&'s str),
    /// The quote of a string that is not closed on its line.
    #[token("\"")]
    OpenStr,

    /// A character literal: C has them, scripts do not.
    #[regex(r"'([^'\\\n]|\\[^\n][0-9a-fA-F]{0,2})'")]
    Char(&'s str),

    #[token("if")] If,
    #[token("else")] Else,
    #[token("while")] While,
    #[token("for")] For,
    #[token("unroll")] Unroll,
    #[token("let")] Let,
    #[token("break")] Break,
    #[token("continue")] Continue,
    #[token("return")] Return,
    #[token("import")] Import,
    #[token("macro")] Macro,
    #[token("fn")] Fn,
    #[token("config")] Config,
    #[token("comptime")] Comptime,
    #[token("struct")] Struct,
    #[token("union")] Union,
    #[token("enum")] Enum,
    #[token("sizeof")] SizeOf,
    #[token("offsetof")] OffsetOf,
    #[token("has_field")] HasField,
    #[token("typeof")] TypeOf,
    #[token("typeinfo")] TypeInfo,
    #[token("true")] True,
    #[token("false")] False,

    #[token("{")] LBrace,
    #[token("}")] RBrace,
    #[token("(")] LParen,
    #[token(")")] RParen,
    #[token("[")] LBracket,
    #[token("]")] RBracket,
    #[token(",")] Comma,
    #[token(";")] Semi,
    #[token(":")] Colon,
    #[token("?")] Question,
    #[token(".")] Dot,
    #[token("..")] DotDot,
    #[token("->")] Arrow,
    #[token("=")] Assign,
    #[token("++")] PlusPlus,
    #[token("--")] MinusMinus,
    #[token("!")] Bang,
    #[token("~")] Tilde,
    #[token("+")] Plus,
    #[token("-")] Minus,
    #[token("*")] Star,
    #[token("&")] Amp,

    /// An operator that only stands between two operands.
    #[token("/", |_| BinOp::Div)]
    #[token("%", |_| BinOp::Mod)]
    #[token("|", |_| BinOp::BitOr)]
    #[token("^", |_| BinOp::BitXor)]
    #[token("<<", |_| BinOp::Shl)]
    #[token(">>", |_| BinOp::Shr)]
    #[token("==", |_| BinOp::Eq)]
    #[token("!=", |_| BinOp::Ne)]
    #[token("<", |_| BinOp::Lt)]
    #[token("<=", |_| BinOp::Le)]
    #[token(">", |_| BinOp::Gt)]
    #[token(">=", |_| BinOp::Ge)]
    #[token("&&", |_| BinOp::And)]
    #[token("||", |_| BinOp::Or)]
    Infix(BinOp),

    /// An operator that assigns.
    #[token("+=", |_| BinOp::Add)]
    #[token("-=", |_| BinOp::Sub)]
    #[token("*=", |_| BinOp::Mul)]
    #[token("/=", |_| BinOp::Div)]
    #[token("%=", |_| BinOp::Mod)]
    #[token("&=", |_| BinOp::BitAnd)]
    #[token("|=", |_| BinOp::BitOr)]
    #[token("^=", |_| BinOp::BitXor)]
    #[token("<<=", |_| BinOp::Shl)]
    #[token(">>=", |_| BinOp::Shr)]
    AssignOp(BinOp),

    /// Only in C lines.
    #[token("#")]
    Hash,
    /// Only in C lines.
    #[token("...")]
    Ellipsis,

    /// Starts the predicate and action of a probe.
    StartProbe,
    /// Starts a lone expression.
    StartExpr,
    /// The slash that opens a predicate.
    PredOpen,
    /// The slash that closes a predicate.
    PredClose,
    /// A `(` that opens a cast.
    CastOpen,
    /// A `{` that opens a block used as an operand.
    ExprBrace,
    /// An `if` used as an operand.
    ExprIf,
    /// The first word of a type in argument position.
    TypeName(&'s str),
    /// A `typeof` that starts a type rather than an operand.
    TypeTypeOf,
    /// What recovery puts in place of a statement that does not parse.
    BadStmt,
    /// What recovery puts in place of an expression that does not parse.
    BadExpr,
}

impl Tok<'_> {
    /// Whether the token leaves an operand open: what follows starts an expression.
    pub(crate) fn wants_operand(self) -> bool {
        matches!(
            self,
            Tok::LParen
                | Tok::LBracket
                | Tok::Comma
                | Tok::Assign
                | Tok::AssignOp(_)
                | Tok::Infix(_)
                | Tok::Plus
                | Tok::Minus
                | Tok::Star
                | Tok::Amp
                | Tok::Bang
                | Tok::Tilde
                | Tok::Question
                | Tok::Colon
                | Tok::DotDot
                | Tok::Return
                | Tok::Comptime
                | Tok::PredOpen
                | Tok::StartExpr
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of a text; what is none is `Hash`.
    fn toks(text: &str) -> Vec<Tok<'_>> {
        Tok::lexer(text).map(|t| t.unwrap_or(Tok::Hash)).collect()
    }

    #[test]
    fn names_with_a_sigil_are_one_token() {
        let expected = [Tok::Var("x"), Tok::Param("12"), Tok::ParamCount, Tok::Map("x1"), Tok::Map(""), Tok::LBracket];
        assert_eq!(toks("$x $12 $# @x1 @["), expected);
    }

    #[test]
    fn numbers_take_letters_but_no_dots() {
        assert_eq!(toks("1_000UL 0x1f 10ms"), [Tok::Int("1_000UL"), Tok::Int("0x1f"), Tok::Int("10ms")]);
        assert_eq!(toks("0..10"), [Tok::Int("0"), Tok::DotDot, Tok::Int("10")]);
        assert_eq!(toks(".0.1"), [Tok::Dot, Tok::Int("0"), Tok::Dot, Tok::Int("1")]);
    }

    #[test]
    fn keywords_only_as_whole_words() {
        assert_eq!(toks("if iff _if fn"), [Tok::If, Tok::Ident("iff"), Tok::Ident("_if"), Tok::Fn]);
    }

    #[test]
    fn strings_end_on_their_line() {
        assert_eq!(toks(r#""a\"b" "\\""#), [Tok::Str(r#""a\"b""#), Tok::Str(r#""\\""#)]);
        assert_eq!(toks("\"a\n"), [Tok::OpenStr, Tok::Ident("a")]);
    }

    #[test]
    fn comments_and_slashes() {
        use BinOp::Div;
        assert_eq!(toks("/ /= // x\n/"), [Tok::Infix(Div), Tok::AssignOp(Div), Tok::LineComment, Tok::Infix(Div)]);
        assert_eq!(toks("/* * / **/ 1"), [Tok::BlockComment, Tok::Int("1")]);
        assert_eq!(toks("/* x"), [Tok::OpenComment, Tok::Ident("x")]);
    }

    #[test]
    fn the_longest_operator_wins() {
        use BinOp::{And, Shl, Shr};
        let expected = [Tok::AssignOp(Shl), Tok::AssignOp(Shr), Tok::Infix(Shr), Tok::Infix(And), Tok::Amp, Tok::Arrow];
        assert_eq!(toks("<<= >>= >> && & ->"), expected);
        assert_eq!(toks("a---b"), [Tok::Ident("a"), Tok::MinusMinus, Tok::Minus, Tok::Ident("b")]);
    }

    #[test]
    fn a_backslash_joins_lines() {
        assert_eq!(toks("1 + \\\n 2"), [Tok::Int("1"), Tok::Plus, Tok::Int("2")]);
    }
}
