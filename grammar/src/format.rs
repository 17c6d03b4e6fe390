//! The formatter: prints a script in the one layout.
//!
//! It works on tokens, so that literals, parentheses and comments stay as they were written; only white space changes,
//! missing semicolons at the end of actions and loops are added, and empty statements are dropped. The layout is that of
//! bpftrace's `--fmt`: two blanks of indentation, one attach point a line, predicate and opening brace of an item on
//! lines of their own, `struct x*`, `(a=1)`; C definitions and preprocessor lines are kept as they are. Lines longer
//! than 80 columns are broken between the arguments of a call or after `&&` and `||`.
//!
//! Invariant: formatting what was formatted changes nothing.

use crate::ast::BinOp;
use crate::lexer::{Located, Tok};
use crate::parser::{self, Piece, PieceKind};
use crate::span::{FileId, Span};
use crate::stream::{self, Notes, Until};
use crate::{NoHeaders, ParseOptions, Preamble, SyntaxError, header};

/// Columns of a line.
const WIDTH: usize = 80;
/// Empty lines in a row that are kept.
const MAX_BLANK_LINES: usize = 2;
/// An operand's block of up to so many columns stays on its line.
const INLINE_WIDTH: usize = 40;

/// Formats a script; the errors when it does not parse.
pub(crate) fn script(text: &str) -> Result<String, Vec<SyntaxError>> {
    let file = FileId::default();
    let output = parser::run(file, text, &mut Preamble::new(&ParseOptions::default()), &NoHeaders);
    if !output.errors.is_empty() {
        return Err(output.errors);
    }
    let mut printer = Printer::new(text);
    let mut end = 0;
    if let Some(line) = &output.script.shebang {
        printer.word(&line.node);
        printer.newline = true;
        end = line.span.end as usize;
        printer.source_end = end;
    }
    let mut comments = output.comments.clone();
    comments.sort_by_key(|c| c.start);
    comments.dedup();
    let mut comments = comments.into_iter().peekable();
    for piece in &output.pieces {
        while let Some(comment) = comments.next_if(|c| (c.start as usize) < piece.range.start) {
            if comment.start as usize >= end {
                printer.comment(comment);
            }
        }
        piece_of(&mut printer, piece, file);
        end = piece.range.end;
        printer.newline = true;
        printer.source_end = end;
        while comments.next_if(|c| (c.start as usize) < end).is_some() {}
    }
    for comment in comments {
        printer.comment(comment);
    }
    Ok(printer.finish())
}

fn piece_of(printer: &mut Printer<'_>, piece: &Piece, file: FileId) {
    let range = piece.range.clone();
    printer.gap(range.start, true);
    match piece.kind {
        PieceKind::Verbatim => {
            // A backslash that continues a line which is not there goes with the blanks.
            let text = printer.text.get(range).unwrap_or_default();
            let kept = text.trim_end_matches(|c: char| c.is_whitespace() || c == '\\');
            // On the first line it would turn into the interpreter line.
            if kept.starts_with("#!") && printer.out.is_empty() && printer.line.is_empty() {
                printer.out.push('\n');
            }
            printer.word(kept);
        }
        PieceKind::Code(until) => {
            let mut comments = Vec::new();
            let stream = read(printer.text, range.clone(), file, None, until, &mut comments);
            Walker::new(printer, &stream, &comments).run();
            if until == Until::Line && !matches!(stream.last(), Some((_, Tok::Semi, _))) {
                printer.word(";");
            }
        }
        PieceKind::Probe { action } => {
            head(printer, range.start, file);
            let mut comments = Vec::new();
            let stream =
                read(printer.text, action..range.end, file, Some(Tok::StartProbe), Until::Block, &mut comments);
            Walker::new(printer, &stream, &comments).run();
        }
    }
}

fn read<'t>(
    text: &'t str,
    range: std::ops::Range<usize>,
    file: FileId,
    head: Option<Tok<'t>>,
    until: Until,
    comments: &mut Vec<Span>,
) -> Vec<Located<'t>> {
    let mut errors = Vec::new();
    stream::read(text, range, file, head, until, &mut Notes { errors: &mut errors, comments }).toks
}

/// The attach points of a probe, each on its line.
fn head(printer: &mut Printer<'_>, start: usize, file: FileId) {
    let (mut errors, mut comments) = (Vec::new(), Vec::new());
    let header = header::scan(printer.text, start, file, &mut errors, &mut comments);
    let mut comments = comments.into_iter().peekable();
    if let Some(name) = &header.name {
        printer.word(&name.node);
        printer.word("=");
    }
    let mut points = header.attach_points.iter().peekable();
    while let Some(point) = points.next() {
        while let Some(comment) = comments.next_if(|c| c.start < point.span.start) {
            printer.comment(comment);
        }
        printer.break_if_newline();
        printer.word(&point.raw);
        if let Some(next) = points.peek() {
            printer.word(if next.alternative { " ||" } else { "," });
        }
        printer.source_end = point.span.end as usize;
        printer.newline = true;
    }
    for comment in comments {
        printer.comment(comment);
    }
    printer.newline = true;
    printer.source_end = header.end;
}

/// Collects the output.
struct Printer<'t> {
    text: &'t str,
    out: String,
    /// The line that is being made, without its indentation.
    line: String,
    /// Where the line may be broken: depth of the bracket, column after its opener, and the place in the line.
    breaks: Vec<Break>,
    indent: usize,
    /// Extra blanks for a line that goes on with an expression.
    hang: usize,
    /// Blanks before the line that is being made.
    line_indent: usize,
    /// The next token starts a new line.
    newline: bool,
    /// How far the source has been printed.
    source_end: usize,
    /// Empty lines are not wanted before the next token.
    tight: bool,
}

#[derive(Clone, Copy)]
struct Break {
    depth: usize,
    opener: usize,
    at: usize,
}

impl<'t> Printer<'t> {
    fn new(text: &'t str) -> Self {
        Printer {
            text,
            out: String::with_capacity(text.len() + text.len() / 4),
            line: String::new(),
            breaks: Vec::new(),
            indent: 0,
            hang: 0,
            line_indent: 0,
            newline: false,
            source_end: 0,
            tight: false,
        }
    }

    /// Breaks the line if one is due, and keeps empty lines of the source before `start`.
    fn gap(&mut self, start: usize, blank_lines: bool) {
        if !self.newline {
            return;
        }
        let source = self.text.get(self.source_end..start).unwrap_or_default();
        let empty = source.bytes().filter(|b| *b == b'\n').count().saturating_sub(1).min(MAX_BLANK_LINES);
        let wanted = blank_lines && !self.tight && !self.out.is_empty() | !self.line.is_empty();
        self.end_line();
        if wanted {
            for _ in 0..empty {
                self.out.push('\n');
            }
        }
    }

    fn break_if_newline(&mut self) {
        if self.newline {
            self.end_line();
        }
    }

    /// Writes the current line out, broken where it is too long.
    fn end_line(&mut self) {
        self.newline = false;
        let line = std::mem::take(&mut self.line);
        let breaks = std::mem::take(&mut self.breaks);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let indent = self.line_indent;
        self.out.extend(std::iter::repeat_n(' ', indent));
        let depth = breaks.iter().map(|b| b.depth).min();
        let first = breaks.iter().find(|b| Some(b.depth) == depth);
        let too_long = indent + line.chars().count() > WIDTH && !line.contains('\n');
        let Some(first) = first.filter(|_| too_long) else {
            self.out.push_str(line);
            self.out.push('\n');
            return;
        };
        let align = indent + line.get(..first.opener).map_or(0, |l| l.chars().count());
        let mut from = 0;
        let mut column = indent;
        let places: Vec<usize> = breaks.iter().filter(|b| b.opener == first.opener).map(|b| b.at).collect();
        for (i, place) in places.iter().enumerate() {
            // What comes after this place decides whether the line ends here.
            let piece = line.get(from..*place).unwrap_or_default();
            self.out.push_str(piece);
            column += piece.chars().count();
            from = *place;
            let next_end = places.get(i + 1).copied().unwrap_or(line.len());
            let next = line.get(from..next_end).unwrap_or_default();
            if column + next.trim_end().chars().count() > WIDTH {
                while self.out.ends_with(' ') {
                    self.out.pop();
                }
                self.out.push('\n');
                self.out.extend(std::iter::repeat_n(' ', align));
                column = align;
                from += next.len() - next.trim_start().len();
            }
        }
        self.out.push_str(line.get(from..).unwrap_or_default());
        self.out.push('\n');
    }

    fn word(&mut self, text: &str) {
        if self.line.is_empty() {
            self.line_indent = self.indent * 2 + self.hang;
        }
        self.tight = false;
        self.line.push_str(text);
    }

    fn space(&mut self) {
        if !self.line.is_empty() && !self.line.ends_with(' ') {
            self.line.push(' ');
        }
    }

    /// A comment: on the line of what stands before it when it was there, on a line of its own otherwise.
    fn comment(&mut self, comment: Span) {
        let (start, end) = (comment.start as usize, comment.end as usize);
        let text = self.text.get(start..end).unwrap_or_default().trim_end();
        let before = self.text.get(self.source_end..start).unwrap_or_default();
        let after = self.text.get(end..).unwrap_or_default();
        let starts_line = before.contains('\n') || self.source_end == 0;
        let ends_line = after.trim_start_matches([' ', '\t', '\r']).starts_with('\n') || after.trim().is_empty();
        if starts_line {
            let between_statements = self.newline || self.line.is_empty();
            self.newline = true;
            self.gap(start, between_statements);
        } else {
            self.space();
        }
        self.word(text);
        if text.starts_with("//") || (ends_line && (starts_line || self.newline)) {
            self.newline = true;
        } else {
            self.space();
        }
        self.source_end = end;
    }

    fn finish(mut self) -> String {
        self.end_line();
        self.out
    }
}

/// What a bracket on the stack is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    /// Statements on lines of their own.
    Block {
        /// Its last statement gets a semicolon.
        closed: bool,
        /// It is an operand: what follows stays on the line.
        operand: bool,
    },
    /// A short operand block on one line.
    Inline,
    Paren,
    Cast,
    Square,
}

/// Prints a token stream.
struct Walker<'p, 't> {
    printer: &'p mut Printer<'t>,
    toks: &'p [Located<'t>],
    comments: std::iter::Peekable<std::slice::Iter<'p, Span>>,
    stack: Vec<Bracket>,
    /// Columns of the lines after the opening brackets on the stack.
    openers: Vec<usize>,
    in_type: bool,
    /// At each level: an `if` that is an operand is being printed.
    operand_if: Vec<bool>,
    /// At each level: the statement being printed is no expression, so that it ends in a semicolon everywhere.
    plain: Vec<bool>,
    /// The head of a loop or `if` precedes: the kind of the next body.
    next_closed: bool,
    prev: Option<Tok<'t>>,
    /// The token before is a prefix operator.
    prev_prefix: bool,
    /// The token before closed a cast.
    prev_cast: bool,
    /// The token before closed a block statement.
    prev_block: bool,
}

impl<'p, 't> Walker<'p, 't> {
    fn new(printer: &'p mut Printer<'t>, toks: &'p [Located<'t>], comments: &'p [Span]) -> Self {
        Walker {
            printer,
            toks,
            comments: comments.iter().peekable(),
            stack: Vec::new(),
            openers: Vec::new(),
            in_type: false,
            operand_if: vec![false],
            plain: vec![false],
            next_closed: true,
            prev: None,
            prev_prefix: false,
            prev_cast: false,
            prev_block: false,
        }
    }

    fn run(mut self) {
        for i in 0..self.toks.len() {
            self.token(i);
        }
    }

    fn token(&mut self, i: usize) {
        let Some(&(l, tok, r)) = self.toks.get(i) else { return };
        if matches!(tok, Tok::StartProbe | Tok::StartExpr) {
            return;
        }
        while let Some(comment) = self.comments.next_if(|c| c.start < l) {
            if tok == Tok::RBrace && self.prev != Some(Tok::Semi) {
                self.semicolon();
            }
            self.printer.comment(*comment);
        }
        let statement = matches!(self.stack.last(), None | Some(Bracket::Block { .. }));
        if tok == Tok::Semi && statement && (self.prev_block || matches!(self.prev, Some(Tok::Semi | Tok::LBrace))) {
            // An empty statement.
            self.printer.source_end = r as usize;
            return;
        }
        if tok == Tok::RBrace {
            self.close_brace(i, l, r);
            return;
        }
        let own_line = matches!(tok, Tok::PredOpen) || (tok == Tok::LBrace && self.stack.is_empty() && self.is_body());
        if own_line && !self.printer.line.is_empty() {
            self.printer.newline = true;
        }
        self.printer.hang = 0;
        if self.printer.newline {
            let hanging = !self.at_statement_start() && !own_line;
            // The line that ends here has the indentation of its own start.
            self.printer.gap(l as usize, self.at_statement_start());
            self.printer.hang = if hanging { 4 } else { 0 };
        } else if self.needs_space(tok) {
            self.printer.space();
        }
        if statement && let Some(plain) = self.plain.last_mut() {
            let starts = matches!(self.prev, Some(Tok::Semi | Tok::LBrace | Tok::ExprBrace)) || self.prev_block;
            *plain &= !starts;
            *plain |= matches!(
                tok,
                Tok::Let | Tok::Break | Tok::Continue | Tok::Return | Tok::Import | Tok::Assign | Tok::AssignOp(_)
            );
        }
        self.qualifiers(l as usize);
        let text = self.printer.text.get(l as usize..r as usize).unwrap_or_default();
        self.printer.word(text);
        self.printer.source_end = r as usize;
        self.after(i, tok);
    }

    /// Whether the brace at the top is that of an item rather than of a config block.
    fn is_body(&self) -> bool {
        !matches!(self.toks.first(), Some((_, Tok::Config, _)))
    }

    fn at_statement_start(&self) -> bool {
        self.prev.is_none()
            || self.prev_block
            || matches!(self.prev, Some(Tok::Semi | Tok::LBrace | Tok::ExprBrace | Tok::PredClose))
    }

    /// `const` and `volatile` are no tokens; what was written is kept.
    fn qualifiers(&mut self, start: usize) {
        let between = self.printer.text.get(self.printer.source_end..start).unwrap_or_default();
        for word in between.split_whitespace().filter(|w| matches!(*w, "const" | "volatile")) {
            self.printer.word(word);
            self.printer.space();
        }
    }

    /// Adds the semicolon that the last statement of an action or a loop may lack.
    fn semicolon(&mut self) {
        let Some(Bracket::Block { closed, .. }) = self.stack.last() else { return };
        if !closed && self.plain.last() != Some(&true) {
            return;
        }
        if self.prev_block || matches!(self.prev, Some(Tok::Semi | Tok::LBrace | Tok::ExprBrace) | None) {
            return;
        }
        self.printer.line.push(';');
        self.prev = Some(Tok::Semi);
        self.prev_block = false;
    }

    fn close_brace(&mut self, i: usize, l: u32, r: u32) {
        self.semicolon();
        let bracket = self.stack.pop();
        self.openers.pop();
        if self.operand_if.len() > 1 {
            self.operand_if.pop();
            self.plain.pop();
        }
        let mut operand = false;
        match bracket {
            Some(Bracket::Inline) => {
                self.printer.space();
                operand = true;
            }
            Some(Bracket::Block { operand: is_operand, .. }) => {
                operand = is_operand;
                let empty = matches!(self.prev, Some(Tok::LBrace | Tok::ExprBrace)) && !self.printer.line.is_empty();
                if empty && self.printer.line.ends_with('{') {
                    self.printer.newline = false;
                    self.printer.indent = self.printer.indent.saturating_sub(1);
                } else {
                    self.printer.newline = true;
                    self.printer.gap(l as usize, false);
                    self.printer.hang = 0;
                    self.printer.indent = self.printer.indent.saturating_sub(1);
                }
            }
            _ => {}
        }
        self.printer.word("}");
        self.printer.source_end = r as usize;
        let next = self.toks.get(i + 1).map(|t| t.1);
        if next == Some(Tok::Else) {
            self.printer.space();
        } else if !operand {
            self.printer.newline = true;
            if let Some(flag) = self.operand_if.last_mut() {
                *flag = false;
            }
        } else if let Some(flag) = self.operand_if.last_mut() {
            *flag = false;
        }
        self.prev = Some(Tok::RBrace);
        self.prev_block = !operand && next != Some(Tok::Else);
        self.prev_prefix = false;
        self.prev_cast = false;
    }

    /// What a token means for those that follow.
    fn after(&mut self, i: usize, tok: Tok<'t>) {
        let prefix = self.is_prefix(tok);
        let mut cast_closed = false;
        match tok {
            Tok::LBrace | Tok::ExprBrace => {
                self.in_type = false;
                let operand = tok == Tok::ExprBrace && self.is_body() || self.operand_if.last() == Some(&true);
                let bracket = if operand && self.fits_inline(i) {
                    self.printer.space();
                    Bracket::Inline
                } else {
                    self.printer.indent += 1;
                    self.printer.newline = true;
                    self.printer.tight = true;
                    let closed = match self.stack.last() {
                        None => self.body_closed(),
                        // The branches of an `if` have values only where the block around it may have one.
                        Some(Bracket::Block { closed: true, .. }) => !operand,
                        Some(_) => self.next_closed && !operand,
                    };
                    Bracket::Block { closed, operand }
                };
                self.stack.push(bracket);
                self.openers.push(0);
                self.operand_if.push(false);
                self.plain.push(false);
                self.next_closed = false;
            }
            Tok::LParen | Tok::LBracket | Tok::CastOpen => {
                self.stack.push(match tok {
                    Tok::LParen => Bracket::Paren,
                    Tok::CastOpen => Bracket::Cast,
                    _ => Bracket::Square,
                });
                self.openers.push(self.printer.line.len());
                if tok == Tok::CastOpen {
                    self.in_type = true;
                }
            }
            Tok::RParen | Tok::RBracket => {
                cast_closed = self.stack.pop() == Some(Bracket::Cast);
                self.openers.pop();
                if tok == Tok::RParen {
                    self.in_type = false;
                }
            }
            Tok::Comma => {
                self.in_type = false;
                self.may_break(0);
            }
            Tok::Infix(BinOp::And | BinOp::Or) => self.may_break(1),
            Tok::Semi => {
                self.in_type = false;
                if matches!(self.stack.last(), None | Some(Bracket::Block { .. })) {
                    self.printer.newline = true;
                }
                if let Some(flag) = self.operand_if.last_mut() {
                    *flag = false;
                }
            }
            Tok::PredClose => self.printer.newline = true,
            Tok::Struct | Tok::Union | Tok::Enum | Tok::TypeName(_) | Tok::TypeTypeOf => self.in_type = true,
            Tok::Assign => self.in_type = false,
            Tok::Colon => self.in_type |= self.is_type_colon(i),
            // The last `if` of an action or a loop has no use for its value.
            Tok::ExprIf if self.prev != Some(Tok::Else) => {
                let closed = matches!(self.stack.last(), Some(Bracket::Block { closed: true, .. }));
                let operand = !(closed && self.at_statement_start());
                if let Some(flag) = self.operand_if.last_mut() {
                    *flag = operand;
                }
            }
            Tok::While | Tok::For | Tok::Unroll => self.next_closed = true,
            Tok::If => self.next_closed = false,
            _ => {}
        }
        self.prev = Some(tok);
        self.prev_prefix = prefix;
        self.prev_cast = cast_closed;
        self.prev_block = false;
    }

    /// The line may be broken here, aligned with what follows the bracket; `weight` makes a place less inviting than
    /// the commas of its level.
    fn may_break(&mut self, weight: usize) {
        let depth = self.stack.len() * 2 + weight;
        let opener = match self.openers.last() {
            Some(opener) => *opener,
            None if self.printer.line.starts_with('/') => 1,
            None => 0,
        };
        if opener > 0 {
            let at = self.printer.line.len();
            self.printer.breaks.push(Break { depth, opener, at });
        }
    }

    /// Whether an item's own block is one of plain statements.
    fn body_closed(&self) -> bool {
        !matches!(self.toks.first(), Some((_, Tok::Macro | Tok::Fn, _)))
    }

    /// Whether the colon at `i` stands before a type: after a variable of `let` or a parameter, or before a return type.
    fn is_type_colon(&self, i: usize) -> bool {
        let before = |n: usize| i.checked_sub(n).and_then(|b| self.toks.get(b)).map(|t| t.1);
        let function = matches!(self.toks.first(), Some((_, Tok::Fn, _)));
        before(2) == Some(Tok::Let) || (function && !self.stack.iter().any(|b| matches!(b, Bracket::Block { .. })))
    }

    /// Whether the block that opens at `i` is one short expression.
    fn fits_inline(&self, i: usize) -> bool {
        let Some((start, ..)) = self.toks.get(i) else { return false };
        for (l, tok, r) in self.toks.iter().skip(i + 1) {
            match tok {
                Tok::RBrace => {
                    let comment = self.comments.clone().any(|c| c.start > *start && c.start < *l);
                    return (r - start) as usize <= INLINE_WIDTH && !comment;
                }
                Tok::Semi | Tok::LBrace | Tok::ExprBrace => return false,
                _ if (r - start) as usize > INLINE_WIDTH => return false,
                _ => {}
            }
        }
        false
    }

    /// Whether a token that may be a prefix operator is one.
    fn is_prefix(&self, tok: Tok<'t>) -> bool {
        match tok {
            Tok::Bang | Tok::Tilde => true,
            Tok::Plus | Tok::Minus | Tok::Star | Tok::Amp | Tok::PlusPlus | Tok::MinusMinus => {
                !self.in_type && !self.operand_before()
            }
            _ => false,
        }
    }

    /// Whether the token before ends an operand.
    fn operand_before(&self) -> bool {
        match self.prev {
            Some(Tok::RParen) => !self.prev_cast,
            Some(Tok::RBrace) => !self.prev_block,
            Some(Tok::PlusPlus | Tok::MinusMinus) => !self.prev_prefix,
            Some(
                Tok::Ident(_)
                | Tok::Var(_)
                | Tok::Param(_)
                | Tok::ParamCount
                | Tok::Map(_)
                | Tok::Int(_)
                | Tok::Str(_)
                | Tok::True
                | Tok::False
                | Tok::RBracket,
            ) => true,
            _ => false,
        }
    }

    /// Whether a blank stands before a token that goes on with the line.
    fn needs_space(&self, tok: Tok<'t>) -> bool {
        let Some(prev) = self.prev else { return false };
        let in_paren = self.stack.last() == Some(&Bracket::Paren);
        match (prev, tok) {
            // Two that would read as one token, or as the start of a comment.
            (Tok::PredOpen, Tok::Star)
            | (Tok::Minus | Tok::MinusMinus, Tok::Minus | Tok::MinusMinus)
            | (Tok::Plus | Tok::PlusPlus, Tok::Plus | Tok::PlusPlus)
            | (Tok::Amp, Tok::Amp) => true,
            // Inside slashes and brackets, before separators, around the dots of fields and ranges; `?:` as one.
            (Tok::PredOpen | Tok::LParen | Tok::LBracket | Tok::CastOpen | Tok::Dot | Tok::Arrow | Tok::DotDot, _)
            | (
                _,
                Tok::PredClose
                | Tok::Comma
                | Tok::Semi
                | Tok::RParen
                | Tok::RBracket
                | Tok::Dot
                | Tok::Arrow
                | Tok::DotDot,
            )
            | (Tok::Question, Tok::Colon) => false,
            (Tok::Assign, _) | (_, Tok::Assign) if in_paren => false,
            (_, Tok::Star) if self.in_type => false,
            (_, Tok::PlusPlus | Tok::MinusMinus) if self.operand_before() => false,
            _ if self.prev_prefix || self.prev_cast => false,
            // An index, and the parentheses of a call.
            (
                Tok::Ident(_)
                | Tok::Map(_)
                | Tok::Var(_)
                | Tok::Str(_)
                | Tok::TypeName(_)
                | Tok::RParen
                | Tok::RBracket
                | Tok::Star,
                Tok::LBracket,
            )
            | (
                Tok::Ident(_)
                | Tok::SizeOf
                | Tok::OffsetOf
                | Tok::HasField
                | Tok::TypeOf
                | Tok::TypeTypeOf
                | Tok::TypeInfo,
                Tok::LParen,
            ) => false,
            _ => true,
        }
    }
}
