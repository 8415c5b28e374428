//! What a template may not say, so that its size and its time cannot grow without bound.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::{Span, Token, tokenize};

use super::errors::{TemplateError, Words, words};
use super::syntax::{self, each_part};
use super::{environment, foreign};

const MAX_TAGS: usize = 256;
/// Operators, dots, brackets and filters in one tag: the syntax tree is as deep as they are many, and it is
/// walked by recursion.
const MAX_LINKS: usize = 256;
const MAX_JOINED: usize = 16;
const MAX_NESTED_BLOCKS: usize = 8;

pub(super) const MOVE: &str = "a template reads, it does not compute: move this into the task's code";

/// Looks at the tokens, before a syntax tree is built that might be too deep to be dropped.
pub(super) fn check_tokens(source: &str) -> Result<(), TemplateError> {
    let (mut tags, mut links) = (0, 0);
    for token in tokenize(source, false, Default::default()) {
        let (token, span) = token.map_err(|error| TemplateError::syntax(source, &error))?;
        match token {
            Token::VariableStart | Token::BlockStart => (tags, links) = (tags + 1, 0),
            token if makes_deeper(&token) => links += 1,
            _ => {}
        }
        let too_many = |what: &str| Err(TemplateError::at(source, span.start_offset as usize, words(what, MOVE)));
        if tags > MAX_TAGS {
            return too_many(&format!("more than {MAX_TAGS} tags in one template"));
        }
        if links > MAX_LINKS {
            return too_many(&format!("more than {MAX_LINKS} operators, filters and dots in one expression"));
        }
    }
    Ok(())
}

fn makes_deeper(token: &Token<'_>) -> bool {
    match token {
        Token::Ident(word) => matches!(*word, "and" | "or" | "not" | "is" | "if" | "else" | "in"),
        Token::TemplateData(_)
        | Token::VariableStart
        | Token::VariableEnd
        | Token::BlockStart
        | Token::BlockEnd
        | Token::Comma
        | Token::Colon
        | Token::Assign
        | Token::BracketClose
        | Token::ParenClose
        | Token::BraceClose => false,
        // Texts and numbers; what else there is makes the tree deeper or may.
        Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => false,
        _ => true,
    }
}

pub(super) fn check(source: &str, template: &Stmt<'_>) -> Result<(), TemplateError> {
    Check { source }.statement(template, 0)
}

struct Check<'s> {
    source: &'s str,
}

impl Check<'_> {
    fn refuse<T>(&self, span: Span, words: Words) -> Result<T, TemplateError> {
        Err(TemplateError::at(self.source, span.start_offset as usize, words))
    }

    fn statement(&self, statement: &Stmt<'_>, depth: usize) -> Result<(), TemplateError> {
        let refused =
            |span: Span, what: &str| self.refuse(span, words(format!("`{{% {what} %}}` is not supported"), MOVE));
        match statement {
            Stmt::Template(template) => self.body(&template.children, depth),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::EmitExpr(emit) => self.whole(&emit.expr),
            Stmt::IfCond(branch) => {
                self.deeper(branch.span(), depth)?;
                self.whole(&branch.expr)?;
                self.body(&branch.true_body, depth + 1)?;
                // `elif` is an `if` alone in an else, and no deeper for who reads it.
                let elif = matches!(branch.false_body.as_slice(), [Stmt::IfCond(_)]);
                self.body(&branch.false_body, if elif { depth } else { depth + 1 })
            }
            Stmt::ForLoop(repeat) => {
                self.deeper(repeat.span(), depth)?;
                if repeat.recursive {
                    return refused(repeat.span(), "for … recursive");
                }
                self.whole(&repeat.iter)?;
                repeat.filter_expr.iter().try_for_each(|expr| self.whole(expr))?;
                self.body(&repeat.body, depth + 1)?;
                self.body(&repeat.else_body, depth + 1)
            }
            Stmt::WithBlock(block) => refused(block.span(), "with"),
            Stmt::Set(set) => refused(set.span(), "set"),
            Stmt::SetBlock(set) => refused(set.span(), "set"),
            Stmt::AutoEscape(block) => refused(block.span(), "autoescape"),
            Stmt::FilterBlock(block) => refused(block.span(), "filter"),
            Stmt::Do(call) => refused(call.span(), "do"),
        }
    }

    fn body(&self, statements: &[Stmt<'_>], depth: usize) -> Result<(), TemplateError> {
        statements.iter().try_for_each(|statement| self.statement(statement, depth))
    }

    fn deeper(&self, span: Span, depth: usize) -> Result<(), TemplateError> {
        if depth >= MAX_NESTED_BLOCKS {
            return self.refuse(span, words(format!("more than {MAX_NESTED_BLOCKS} blocks inside each other"), MOVE));
        }
        Ok(())
    }

    /// An expression with all in it.
    fn whole(&self, expr: &Expr<'_>) -> Result<(), TemplateError> {
        let mut joined = 0;
        self.expression(expr, &mut joined)
    }

    fn expression(&self, expr: &Expr<'_>, joined: &mut usize) -> Result<(), TemplateError> {
        match expr {
            Expr::BinOp(op) => match op.op {
                BinOpKind::Concat | BinOpKind::Add => {
                    *joined += 1;
                    if *joined > MAX_JOINED {
                        let message = format!("more than {MAX_JOINED} `~` and `+` in one expression");
                        return self.refuse(op.span(), words(message, MOVE));
                    }
                }
                BinOpKind::Mul | BinOpKind::Pow if is_repeatable(&op.left) || is_repeatable(&op.right) => {
                    return self.refuse(op.span(), words("`*` takes numbers and does not repeat", MOVE));
                }
                _ => {}
            },
            Expr::Compare(compare) if compare.ops.len() > 1 => {
                let message = "comparisons in a row are not supported";
                return self.refuse(compare.span(), words(message, "write `a < b and b < c`"));
            }
            Expr::Filter(filter) => {
                if !environment::has_filter(filter.name) {
                    return self.refuse(filter.span(), foreign::filter(filter.name));
                }
                self.arguments(filter.span(), &filter.args)?;
            }
            Expr::Test(test) => {
                if !environment::TESTS.contains(&test.name) {
                    return self.refuse(test.span(), foreign::test(test.name));
                }
                self.arguments(test.span(), &test.args)?;
            }
            Expr::Call(call) => {
                self.arguments(call.span(), &call.args)?;
                match &call.expr {
                    Expr::Var(name) if environment::FUNCTIONS.contains(&name.id) => {}
                    Expr::Var(name) => return self.refuse(call.span(), foreign::function(name.id)),
                    Expr::GetAttr(get) if environment::METHODS.contains(&get.name) => {}
                    Expr::GetAttr(get) => {
                        let on = syntax::path(&get.expr).map(|(root, _)| root);
                        return self.refuse(call.span(), foreign::method(on, get.name, &call.args));
                    }
                    _ => return self.refuse(call.span(), words("only functions can be called", MOVE)),
                }
            }
            _ => {}
        }
        let mut found = Ok(());
        each_part(expr, &mut |part| {
            if found.is_ok() {
                found = self.expression(part, joined);
            }
        });
        found
    }

    fn arguments(&self, span: Span, arguments: &[CallArg<'_>]) -> Result<(), TemplateError> {
        if arguments.iter().any(|argument| matches!(argument, CallArg::PosSplat(_) | CallArg::KwargSplat(_))) {
            let message = "`*` and `**` before an argument are not supported";
            return self.refuse(span, words(message, "write the arguments one by one"));
        }
        Ok(())
    }
}

fn is_repeatable(expr: &Expr<'_>) -> bool {
    match expr {
        Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => true,
        Expr::Const(constant) => !constant.value.is_number(),
        _ => false,
    }
}
