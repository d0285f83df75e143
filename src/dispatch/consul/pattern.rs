//! Regular expressions from clients: pure, in linear time, within limits, and refused in the words
//! that Consul's own engine (RE2 syntax, as Go has it) uses.
//!
//! What the engine here understands and RE2 does not is refused as well, so that no client comes to
//! rely on what a real Consul would not take.

use regex::{Regex, RegexBuilder};
use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    self, Ast, ClassSetItem, ErrorKind, Flag, FlagsItemKind, GroupKind, RepetitionKind,
    RepetitionRange,
};

/// Bytes of one expression.
pub(crate) const PATTERN_BYTES_MAX: usize = 1024;
/// The highest number in `x{n}`, as in RE2.
const REPEAT_MAX: u32 = 1000;
/// Bytes an expression may take when it is compiled.
const SIZE_MAX: usize = 256 * 1024;
/// Characters in all classes of an expression that looks for either case: each of them is looked up
/// when it is compiled, and for all that Unicode has that takes six milliseconds (optimized).
const FOLDED_MAX: u32 = 2 * UNICODE;
/// As many characters Unicode has room for.
const UNICODE: u32 = 0x11_0000;
/// More than any class of Unicode's has that is not the rest of another.
const CLASS: u32 = 150_000;
/// Levels of brackets.
const NESTED_MAX: u32 = 100;

/// Compiles an expression that is looked for anywhere in a text, in its case.
///
/// # Errors
/// Why it cannot be, as `error parsing regexp: …`.
pub(crate) fn compile(text: &str) -> Result<Regex, String> {
    let refuse = |why: String| format!("error parsing regexp: {why}");
    if text.len() > PATTERN_BYTES_MAX {
        return Err(refuse(format!("expression has more than {PATTERN_BYTES_MAX} bytes")));
    }
    let parsed = Parser::new().parse(text).map_err(|error| refuse(in_words(&error)))?;
    ast::visit(&parsed, Strict { text, folds: false, reach: 0 }).map_err(refuse)?;
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(SIZE_MAX).dfa_size_limit(SIZE_MAX).nest_limit(NESTED_MAX);
    builder.build().map_err(|error| {
        refuse(match error {
            regex::Error::CompiledTooBig(_) => "expression too large".to_owned(),
            _ => format!("invalid or unsupported Perl syntax: `{text}`"),
        })
    })
}

/// What Go says of the same mistake.
fn in_words(error: &ast::Error) -> String {
    let (text, span) = (error.pattern(), error.span());
    let part = &text[span.start.offset..span.end.offset];
    match error.kind() {
        ErrorKind::GroupUnclosed => format!("missing closing ): `{text}`"),
        ErrorKind::GroupUnopened => format!("unexpected ): `{text}`"),
        ErrorKind::ClassUnclosed => format!("missing closing ]: `{}`", &text[span.start.offset..]),
        ErrorKind::ClassRangeInvalid | ErrorKind::UnicodeClassInvalid => {
            format!("invalid character class range: `{part}`")
        }
        ErrorKind::RepetitionMissing => {
            let operator = text[span.start.offset..].chars().next().unwrap_or('*');
            format!("missing argument to repetition operator: `{operator}`")
        }
        ErrorKind::RepetitionCountInvalid | ErrorKind::DecimalInvalid => {
            format!("invalid repeat count: `{part}`")
        }
        ErrorKind::EscapeUnexpectedEof => "trailing backslash at end of expression: ``".to_owned(),
        ErrorKind::EscapeUnrecognized | ErrorKind::UnsupportedBackreference => {
            format!("invalid escape sequence: `{part}`")
        }
        ErrorKind::GroupNameDuplicate { .. }
        | ErrorKind::GroupNameEmpty
        | ErrorKind::GroupNameInvalid
        | ErrorKind::GroupNameUnexpectedEof => format!("invalid named capture: `{part}`"),
        ErrorKind::NestLimitExceeded(_) => "expression nests too deeply".to_owned(),
        _ => format!("invalid or unsupported Perl syntax: `{part}`"),
    }
}

/// Refuses what RE2 has not, repeats beyond its limit, and what takes long to compile.
struct Strict<'a> {
    text: &'a str,
    /// Whether some of it looks for either case.
    folds: bool,
    /// Characters in its classes.
    reach: u32,
}

impl Strict<'_> {
    fn part(&self, span: &ast::Span) -> &str {
        self.text.get(span.start.offset..span.end.offset).unwrap_or(self.text)
    }

    fn reach_class(&mut self, is_negated: bool) {
        let reach = if is_negated { UNICODE } else { CLASS };
        self.reach = self.reach.saturating_add(reach);
    }

    fn foreign(&self, span: &ast::Span) -> String {
        format!("invalid or unsupported Perl syntax: `{}`", self.part(span))
    }

    fn check_flags(&mut self, flags: &ast::Flags) -> Result<(), String> {
        self.folds |= flags.flag_state(Flag::CaseInsensitive) == Some(true);
        let is_foreign = |item: &&ast::FlagsItem| {
            matches!(
                item.kind,
                FlagsItemKind::Flag(Flag::IgnoreWhitespace | Flag::CRLF | Flag::Unicode)
            )
        };
        match flags.items.iter().find(is_foreign) {
            Some(item) => Err(self.foreign(&item.span)),
            None => Ok(()),
        }
    }
}

impl ast::Visitor for Strict<'_> {
    type Output = ();
    type Err = String;

    fn finish(self) -> Result<(), String> {
        if self.folds && self.reach > FOLDED_MAX {
            return Err("expression too large".to_owned());
        }
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        use ast::AssertionKind as Kind;
        match ast {
            Ast::Repetition(repetition) => {
                let most = match &repetition.op.kind {
                    RepetitionKind::Range(
                        RepetitionRange::Exactly(n)
                        | RepetitionRange::AtLeast(n)
                        | RepetitionRange::Bounded(_, n),
                    ) => *n,
                    _ => 0,
                };
                if most > REPEAT_MAX {
                    let part = self.part(&repetition.op.span);
                    return Err(format!("invalid repeat count: `{part}`"));
                }
            }
            Ast::Flags(set) => self.check_flags(&set.flags)?,
            Ast::Group(group) => {
                if let GroupKind::NonCapturing(flags) = &group.kind {
                    self.check_flags(flags)?;
                }
            }
            Ast::Assertion(assertion) => match assertion.kind {
                Kind::StartLine
                | Kind::EndLine
                | Kind::StartText
                | Kind::EndText
                | Kind::WordBoundary
                | Kind::NotWordBoundary => {}
                _ => return Err(self.foreign(&assertion.span)),
            },
            Ast::ClassPerl(class) => self.reach_class(class.negated),
            Ast::ClassUnicode(class) => self.reach_class(class.is_negated()),
            _ => {}
        }
        Ok(())
    }

    // What is negated in front of a class is looked up before it is.
    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        match item {
            // In RE2 a bracket in a class is a character.
            ClassSetItem::Bracketed(class) => {
                return Err(format!("invalid character class range: `{}`", self.part(&class.span)));
            }
            ClassSetItem::Range(range) => {
                let (first, last) = (u32::from(range.start.c), u32::from(range.end.c));
                self.reach = self.reach.saturating_add(last.saturating_sub(first));
            }
            ClassSetItem::Ascii(class) => self.reach_class(class.negated),
            ClassSetItem::Perl(class) => self.reach_class(class.negated),
            ClassSetItem::Unicode(class) => self.reach_class(class.is_negated()),
            ClassSetItem::Literal(_) | ClassSetItem::Empty(_) | ClassSetItem::Union(_) => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        operation: &ast::ClassSetBinaryOp,
    ) -> Result<(), String> {
        Err(format!("invalid character class range: `{}`", self.part(&operation.span)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mistake_is_told_in_the_words_of_the_real_engine() {
        let why = |text: &str| compile(text).unwrap_err();
        for (text, words) in [
            ("(", "missing closing ): `(`"),
            (")", "unexpected ): `)`"),
            ("a[b", "missing closing ]: `[b`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?<!a)", "invalid or unsupported Perl syntax: `(?<!`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\y", r"invalid escape sequence: `\y`"),
            ("a\\", "trailing backslash at end of expression: ``"),
        ] {
            assert_eq!(why(text), format!("error parsing regexp: {words}"), "{text}");
        }
    }

    #[test]
    fn what_a_real_consul_would_not_take_is_refused() {
        for text in ["(?x)a b", "[a&&b]", "[a--b]", r"\<a", r"\b{start}a", "(?R)$", "(?-u)a"] {
            assert!(compile(text).is_err(), "{text}");
        }
        for text in ["[a[b]]", "[^p[^a]]"] {
            let words = compile(text).unwrap_err();
            assert!(words.contains("invalid character class range"), "{words}");
        }
        for text in ["^Node$", "web-[0-9]+", "(?i)db", "(?P<x>a)", r"\bdb\b", "[[:alpha:]]", ""] {
            assert!(compile(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_catastrophe_for_other_engines_is_none_here() {
        let text = "a".repeat(5_000);
        for pattern in ["(a+)+$b", "(a|a)*b", "(a*)*b", "(.*)*(.*)*(.*)*x"] {
            assert!(!compile(pattern).unwrap().is_match(&text), "{pattern}");
        }
        for pattern in ["((a{1000}){1000}){1000}", r"\w{1000}", &"(".repeat(400)] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
        assert!(compile(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        // Each of these classes takes milliseconds, and all of them more than a second.
        for class in [r"[\W\S\D]", r"[ -\x{10FFFF}]", r"[\PL]", r"\PL", "[[:^alpha:]]"] {
            let pattern = format!("(?i){}", class.repeat(PATTERN_BYTES_MAX / class.len() - 1));
            assert_eq!(
                compile(&pattern).unwrap_err(),
                "error parsing regexp: expression too large"
            );
        }
        for pattern in [r"(?i)^[^x]+\W[a-z]*$", r"(?i)\w+-[[:alpha:]]", r"[\W\S\D]"] {
            assert!(compile(pattern).is_ok(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_compiled_or_refused(text in r"[a-z(){}\[\]\\|*+?.^$0-9,&\-=!<>:Pé ]{0,40}") {
            if let Err(why) = compile(&text) {
                prop_assert!(why.starts_with("error parsing regexp: "), "{}", why);
                prop_assert!(!why.contains('\n'), "{}", why);
            }
        }
    }
}
