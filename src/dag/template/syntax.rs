//! How the syntax tree is walked: the parts of an expression, and names with constant steps after them.

use minijinja::Value;
use minijinja::machinery::ast::{CallArg, Expr, UnaryOpKind};

/// Calls `visit` with each expression directly inside this one.
pub(super) fn each_part<'a, 's>(expr: &'a Expr<'s>, visit: &mut dyn FnMut(&'a Expr<'s>)) {
    match expr {
        Expr::Var(_) | Expr::Const(_) => {}
        Expr::Slice(slice) => {
            visit(&slice.expr);
            [&slice.start, &slice.stop, &slice.step].into_iter().flatten().for_each(visit);
        }
        Expr::UnaryOp(op) => visit(&op.expr),
        Expr::BinOp(op) => {
            visit(&op.left);
            visit(&op.right);
        }
        Expr::Compare(compare) => {
            visit(&compare.expr);
            compare.ops.iter().for_each(|op| visit(&op.expr));
        }
        Expr::IfExpr(choice) => {
            visit(&choice.test_expr);
            visit(&choice.true_expr);
            choice.false_expr.iter().for_each(visit);
        }
        Expr::Filter(filter) => {
            filter.expr.iter().for_each(&mut *visit);
            filter.args.iter().map(argument).for_each(visit);
        }
        Expr::Test(test) => {
            visit(&test.expr);
            test.args.iter().map(argument).for_each(visit);
        }
        Expr::GetAttr(get) => visit(&get.expr),
        Expr::GetItem(get) => {
            visit(&get.expr);
            visit(&get.subscript_expr);
        }
        Expr::Call(call) => {
            visit(&call.expr);
            call.args.iter().map(argument).for_each(visit);
        }
        Expr::List(list) => list.items.iter().for_each(visit),
        Expr::Tuple(tuple) => tuple.items.iter().for_each(visit),
        Expr::Map(map) => map.keys.iter().chain(&map.values).for_each(visit),
    }
}

pub(super) fn argument<'a, 's>(argument: &'a CallArg<'s>) -> &'a Expr<'s> {
    match argument {
        CallArg::Pos(expr) | CallArg::Kwarg(_, expr) | CallArg::PosSplat(expr) | CallArg::KwargSplat(expr) => expr,
    }
}

/// One step after a name: `.city`, `['city']`, `[0]`; or `[something computed]`.
pub(super) enum Step<'a, 's> {
    Constant(Value),
    Computed(&'a Expr<'s>),
}

impl Step<'_, '_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Step::Constant(value) => value.as_str(),
            Step::Computed(_) => None,
        }
    }
}

/// Where a path begins: the span of the whole begins somewhere behind its name.
pub(super) fn start_of(expr: &Expr<'_>) -> usize {
    let mut at = expr;
    loop {
        match at {
            Expr::GetAttr(get) => at = &get.expr,
            Expr::GetItem(get) => at = &get.expr,
            other => return other.span().start_offset as usize,
        }
    }
}

/// `params.city[0]` as its name and its steps; none if the expression does not start at a name.
pub(super) fn path<'a, 's>(expr: &'a Expr<'s>) -> Option<(&'s str, Vec<Step<'a, 's>>)> {
    let mut steps = Vec::new();
    let mut at = expr;
    loop {
        match at {
            Expr::Var(name) => {
                steps.reverse();
                return Some((name.id, steps));
            }
            Expr::GetAttr(get) => {
                steps.push(Step::Constant(Value::from(get.name)));
                at = &get.expr;
            }
            Expr::GetItem(get) => {
                let constant = constant(&get.subscript_expr);
                steps.push(constant.map_or(Step::Computed(&get.subscript_expr), Step::Constant));
                at = &get.expr;
            }
            _ => return None,
        }
    }
}

/// A literal; `-1` is one, too.
fn constant(expr: &Expr<'_>) -> Option<Value> {
    match expr {
        Expr::Const(constant) => Some(constant.value.clone()),
        Expr::UnaryOp(minus) if matches!(minus.op, UnaryOpKind::Neg) => match &minus.expr {
            Expr::Const(constant) if constant.value.is_integer() => {
                constant.value.as_i64()?.checked_neg().map(Value::from)
            }
            _ => None,
        },
        _ => None,
    }
}
