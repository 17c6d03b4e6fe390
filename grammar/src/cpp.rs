//! The small preprocessor.
use crate::ast::Item;
use crate::c_ast::{CItem, CItemKind};
use crate::span::{FileId, Span, Spanned};
use crate::{ParseOptions, SyntaxError};

pub(crate) struct Preprocessor {
    file: FileId,
}

impl Preprocessor {
    pub(crate) fn new(file: FileId, _opts: &ParseOptions) -> Self {
        Preprocessor { file }
    }

    pub(crate) fn directive(
        &mut self,
        text: &str,
        pos: usize,
        items: &mut Vec<Item>,
        _errors: &mut Vec<SyntaxError>,
        _comments: &mut Vec<Span>,
    ) -> usize {
        let rest = text.get(pos..).unwrap_or_default();
        let end = pos + rest.find('\n').unwrap_or(rest.len());
        let line = text.get(pos..end).unwrap_or_default();
        let span = Span::new(self.file, pos as u32, end as u32);
        let body = line.trim_start_matches('#').trim();
        let kind = if let Some(path) = body.strip_prefix("include") {
            let path = path.trim();
            CItemKind::Include { path: path.trim_matches(['<', '>', '"']).to_owned(), system: path.starts_with('<') }
        } else if let Some(def) = body.strip_prefix("define") {
            let def = def.trim();
            let (name, value) = def.split_once(char::is_whitespace).unwrap_or((def, ""));
            let at = end - value.len();
            CItemKind::Define {
                name: Spanned { node: name.to_owned(), span },
                value: crate::parser::expression(self.file, text, at..end).ok(),
                text: value.to_owned(),
            }
        } else {
            CItemKind::Directive(line.to_owned())
        };
        items.push(Item::C(CItem { kind, span }));
        end
    }

    pub(crate) fn declaration(
        &mut self,
        text: &str,
        _pos: usize,
        _items: &mut Vec<Item>,
        _errors: &mut Vec<SyntaxError>,
        _comments: &mut Vec<Span>,
    ) -> usize {
        text.len()
    }

    pub(crate) fn finish(&mut self, _errors: &mut Vec<SyntaxError>) {}
}
