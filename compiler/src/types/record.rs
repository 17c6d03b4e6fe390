//! The record of a tracepoint as a struct, from the text of its `format` file in tracefs
//! (Documentation/trace/events.rst, section "Event formats").
//!
//! The text comes from the kernel, but a module may have written it: lines that do not parse are left out.

use std::rc::Rc;

use super::table::TypeTable;
use super::{AddrSpace, IntType, StructField, Type};

/// A field as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatField {
    /// The declaration without the name: `const char *`, `__data_loc char[]`, `u8[4]`.
    pub ty: String,
    /// Its name.
    pub name: String,
    /// Byte offset in the record.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Two's complement.
    pub signed: bool,
}

/// The fields of a format file in order, those that all events share first.
pub fn parse_format(text: &str) -> Vec<FormatField> {
    let mut fields: Vec<FormatField> = text.lines().filter_map(parse_line).collect();
    // Newer kernels copy the text behind a pointer `path` into a field `__path_val`, but for their own trace only: a BPF program
    // finds there what was in the memory before.
    let own = |name: &str| name.strip_prefix("__")?.strip_suffix("_val").map(str::to_owned);
    let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    fields.retain(|field| own(&field.name).is_none_or(|pointer| !names.contains(&pointer)));
    fields
}

/// `field:const char * filename; offset:24; size:8; signed:0;`
fn parse_line(line: &str) -> Option<FormatField> {
    let mut parts = line.trim().split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let (mut offset, mut size, mut signed) = (None, None, false);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = value.parse().ok(),
            Some(("size", value)) => size = value.parse().ok(),
            Some(("signed", value)) => signed = value == "1",
            _ => {}
        }
    }
    // `char comm[16]`: the dimensions belong to the type. `__data_loc char[] name` has them there already.
    let (head, dimensions) = match declaration.rsplit_once(char::is_whitespace) {
        Some((_, last)) => match last.find('[') {
            Some(at) => {
                let split = declaration.len() - last.len() + at;
                (declaration.get(..split)?, declaration.get(split..)?)
            }
            None => (declaration, ""),
        },
        None => (declaration, ""),
    };
    let at = head.rfind(|c: char| c.is_whitespace() || c == '*')? + 1;
    let name = head.get(at..)?;
    let ty = format!("{}{dimensions}", head.get(..at)?.trim());
    if name.is_empty() {
        return None;
    }
    Some(FormatField { ty, name: name.to_owned(), offset: offset?, size: size?, signed })
}

/// The struct's fields. A `__data_loc` field keeps its `uint32` word: see [`is_data_loc`]. Pointers of system call events
/// point to user memory.
pub fn record_fields(format: &[FormatField], user: bool, types: &mut TypeTable<'_>) -> Vec<StructField> {
    let space = if user { AddrSpace::User } else { AddrSpace::Kernel };
    format
        .iter()
        .map(|field| StructField {
            name: field.name.clone(),
            ty: field_type(field, space, types),
            offset: field.offset,
            bits: None,
        })
        .collect()
}

/// True when the field holds the place of its data and not the data.
pub fn is_data_loc(field: &FormatField) -> bool {
    field.ty.starts_with("__data_loc") || field.ty.starts_with("__rel_loc")
}

/// C's `char`, as text consists of.
pub const CHAR: Type = Type::Int(IntType { size: 1, signed: true });

/// What lies where a [`is_data_loc`] field points to: text, the elements of an array, or a mask of processors.
pub fn data_loc_target(field: &FormatField, types: &mut TypeTable<'_>) -> Type {
    let text = field.ty.strip_prefix("__data_loc").or_else(|| field.ty.strip_prefix("__rel_loc")).unwrap_or_default();
    let name = text.trim().trim_end_matches("[]").trim();
    match name {
        "char" => CHAR,
        name if name.ends_with('*') => Type::Ptr(Rc::new(Type::Void), AddrSpace::Kernel),
        name => lookup(name, types).unwrap_or(Type::Int(IntType::U8)),
    }
}

fn field_type(field: &FormatField, space: AddrSpace, types: &mut TypeTable<'_>) -> Type {
    if is_data_loc(field) {
        return Type::U32;
    }
    let integer = || match field.size {
        size @ (1 | 2 | 4 | 8) => Type::Int(IntType { size: size as u8, signed: field.signed }),
        size => Type::Array(Rc::new(Type::Int(IntType::U8)), size),
    };
    let spaced = field.ty.replace('*', " * ");
    let words = spaced.split_whitespace().filter(|word| !matches!(*word, "const" | "volatile" | "__user"));
    let text = words.collect::<Vec<_>>().join(" ");
    if let Some(target) = text.strip_suffix('*') {
        if field.size != 8 {
            return integer();
        }
        let mut target = target.trim();
        let mut depth = 0;
        while let Some(inner) = target.strip_suffix('*') {
            target = inner.trim();
            depth += 1;
        }
        let mut ty = match target {
            "char" => Type::Int(IntType::U8),
            name => lookup(name, types).unwrap_or(Type::Void),
        };
        for _ in 0..depth.min(8) {
            ty = Type::Ptr(Rc::new(ty), space);
        }
        return Type::Ptr(Rc::new(ty), space);
    }
    if let Some((elem, _)) = text.split_once('[') {
        let elem = elem.trim();
        if elem == "char" {
            return Type::Str(field.size);
        }
        let elem = lookup(elem, types).unwrap_or(Type::Int(IntType::U8));
        let size = super::layout::size_of(&elem, &types.aggregates);
        return if size == 0 || !field.size.is_multiple_of(size) {
            Type::Array(Rc::new(Type::Int(IntType::U8)), field.size)
        } else {
            Type::Array(Rc::new(elem), field.size / size)
        };
    }
    // System calls get eight bytes for each argument, and of an `int` callers leave the upper four as they like: `AT_FDCWD` is -100.
    if text == "int" && field.size == 8 {
        return Type::I32;
    }
    // A name whose type has another size is a number all the same: the size in the record counts.
    match lookup(&text, types) {
        Some(ty @ (Type::Bool | Type::Enum { .. } | Type::Struct(_) | Type::Array(..)))
            if super::layout::size_of(&ty, &types.aggregates) == field.size =>
        {
            ty
        }
        _ => integer(),
    }
}

fn lookup(name: &str, types: &mut TypeTable<'_>) -> Option<Type> {
    if let Some(tag) = name.strip_prefix("struct ") {
        return types.composite(tag, false);
    }
    if let Some(tag) = name.strip_prefix("union ") {
        return types.composite(tag, true);
    }
    if let Some(tag) = name.strip_prefix("enum ") {
        return types.enumeration(tag);
    }
    types.named(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "name: x\nID: 1\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \n\
        \tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n\
        \tfield:char comm[16];\toffset:12;\tsize:16;\tsigned:0;\n\
        \tfield:const char * path;\toffset:32;\tsize:8;\tsigned:0;\n\
        \tfield:const char *const * argv;\toffset:40;\tsize:8;\tsigned:0;\n\
        \tfield:int dfd;\toffset:48;\tsize:8;\tsigned:0;\n\
        \tfield:__u8 saddr[4];\toffset:56;\tsize:4;\tsigned:0;\n\
        \nprint fmt: \"%d\", REC->dfd\n";

    #[test]
    fn dynamic_arrays_have_elements() {
        let text = "\tfield:__data_loc char[] device;\toffset:8;\tsize:4;\tsigned:0;\n\
            \tfield:__data_loc unsigned int[] lengths;\toffset:12;\tsize:4;\tsigned:0;\n\
            \tfield:__rel_loc u8[] data;\toffset:16;\tsize:4;\tsigned:0;\n\
            \tfield:__data_loc void *[] ends;\toffset:20;\tsize:4;\tsigned:0;\n";
        let mut types = TypeTable::new(None);
        let targets: Vec<Type> = parse_format(text).iter().map(|field| data_loc_target(field, &mut types)).collect();
        let address = Type::Ptr(Rc::new(Type::Void), AddrSpace::Kernel);
        assert_eq!(targets, [CHAR, Type::U32, Type::Int(IntType::U8), address]);
    }

    #[test]
    fn fields_have_the_types_of_their_declarations() {
        let mut types = TypeTable::new(None);
        let format = parse_format(FORMAT);
        let fields = record_fields(&format, true, &mut types);
        let shown: Vec<String> = fields
            .iter()
            .map(|f| format!("{}@{}: {}", f.name, f.offset, super::super::display::display(&f.ty, &types.aggregates)))
            .collect();
        assert_eq!(
            shown,
            [
                "common_type@0: uint16",
                "filename@8: uint32",
                "comm@12: string[16]",
                "path@32: uint8 *",
                "argv@40: uint8 **",
                "dfd@48: int32",
                "saddr@56: uint8[4]",
            ]
        );
        let dynamic: Vec<&str> = format.iter().filter(|f| is_data_loc(f)).map(|f| f.name.as_str()).collect();
        assert_eq!(dynamic, ["filename"]);
    }

    #[test]
    fn copies_for_the_trace_are_left_out() {
        let text = "\tfield:const char * filename;\toffset:24;\tsize:8;\n\tfield:__data_loc char[] __filename_val;\toffset:48;\tsize:4;\n\
            \tfield:int __odd_val;\toffset:56;\tsize:4;\n";
        let names: Vec<String> = parse_format(text).into_iter().map(|field| field.name).collect();
        assert_eq!(names, ["filename", "__odd_val"]);
    }

    #[test]
    fn nonsense_is_left_out() {
        assert_eq!(parse_format("field:;offset:x;\nfield:int;\n\tfield:int a;\toffset:4;\n"), []);
    }
}
