//! What two sides make together.

use std::collections::BTreeSet;

use promql_parser::parser::token::{self, TokenId};
use promql_parser::parser::{BinaryExpr, Expr, LabelModifier, VectorMatchCardinality};

use super::{Fault, Labels, Reader, Shape};
use crate::dashboards::unit::Unit;

impl Reader<'_> {
    pub(super) fn binary(&self, binary: &BinaryExpr) -> Result<Shape, Fault> {
        let left = self.shape(&binary.lhs)?;
        let right = self.shape(&binary.rhs)?;
        match binary.op.id() {
            token::T_LAND | token::T_LUNLESS => {
                matched(binary, &left, &right)?;
                Ok(left)
            }
            token::T_LOR => {
                same_unit(&left, &right)?;
                let unit = left.unit.or(right.unit);
                let never_zero = left.never_zero && right.never_zero;
                let may_be_nan = left.may_be_nan || right.may_be_nan;
                Ok(Shape {
                    unit,
                    never_zero,
                    may_be_nan,
                    ..left
                })
            }
            _ if binary.op.is_comparison_operator() => self.comparison(binary, left, &right),
            op => self.arithmetic(binary, op, &left, &right),
        }
    }

    /// A filter keeps the left side, without what is not a number; `bool` makes 0 and 1 of it.
    fn comparison(&self, binary: &BinaryExpr, left: Shape, right: &Shape) -> Result<Shape, Fault> {
        same_unit(&left, right)?;
        let labels = matched(binary, &left, right)?;
        if binary.return_bool() {
            return Ok(Shape::vector(labels, Some(Unit::ONE)));
        }
        let leaves_out_zero = match binary.op.id() {
            token::T_GTR => is_at_least_zero(&binary.rhs),
            token::T_GTE => super::calls::is_above_zero(&binary.rhs),
            _ => false,
        };
        Ok(Shape {
            labels,
            never_zero: left.never_zero || leaves_out_zero,
            may_be_nan: false,
            ..left
        })
    }

    fn arithmetic(
        &self,
        binary: &BinaryExpr,
        op: TokenId,
        left: &Shape,
        right: &Shape,
    ) -> Result<Shape, Fault> {
        let of = |shape: &Shape| shape.unit.unwrap_or(Unit::ONE);
        let both_literal = left.unit.is_none() && right.unit.is_none();
        let unit = match op {
            token::T_MUL => of(left).times(of(right)),
            token::T_DIV => of(left).per(of(right)),
            token::T_ADD | token::T_SUB | token::T_MOD => {
                same_unit(left, right)?;
                left.unit.or(right.unit).unwrap_or(Unit::ONE)
            }
            _ => return Err(Fault::NotUnderstood(binary.op.to_string())),
        };
        if op == token::T_DIV && self.is_for_a_panel() {
            if !right.never_zero {
                return Err(Fault::MayDivideByZero);
            }
            if let Some(metric) = left
                .rate_of
                .as_ref()
                .filter(|_| left.rate_of == right.rate_of)
            {
                return Err(Fault::DividedByItself(metric.clone()));
            }
        }
        let labels = matched(binary, left, right)?;
        let keeps_from_zero = matches!(op, token::T_MUL | token::T_DIV);
        Ok(Shape {
            scalar: left.scalar && right.scalar,
            never_zero: keeps_from_zero && left.never_zero && right.never_zero,
            may_be_nan: left.may_be_nan || right.may_be_nan,
            ..Shape::vector(labels, Some(unit).filter(|_| !both_literal))
        })
    }
}

/// The labels of the result, if the two sides can have series in common.
fn matched(binary: &BinaryExpr, left: &Shape, right: &Shape) -> Result<Labels, Fault> {
    if right.scalar {
        return Ok(left.labels.clone());
    }
    if left.scalar {
        return Ok(right.labels.clone());
    }
    let modifier = binary.modifier.as_ref();
    let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
    let by = match matching {
        None => {
            if let (Labels::These(l), Labels::These(r)) = (&left.labels, &right.labels)
                && l != r
            {
                let list = |labels: &BTreeSet<String>| {
                    labels.iter().cloned().collect::<Vec<_>>().join(", ")
                };
                return Err(Fault::NeverMatches {
                    left: list(l),
                    right: list(r),
                });
            }
            left.labels.clone()
        }
        Some(LabelModifier::Include(on)) => {
            left.labels.expect(&on.labels)?;
            right.labels.expect(&on.labels)?;
            Labels::none().with(on.labels.clone())
        }
        Some(LabelModifier::Exclude(ignoring)) => left.labels.clone().without(&ignoring.labels),
    };
    match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(brought)) => {
            right.labels.expect(&brought.labels)?;
            Ok(left.labels.clone().with(brought.labels.clone()))
        }
        Some(VectorMatchCardinality::OneToMany(brought)) => {
            left.labels.expect(&brought.labels)?;
            Ok(right.labels.clone().with(brought.labels.clone()))
        }
        _ => Ok(by),
    }
}

fn same_unit(left: &Shape, right: &Shape) -> Result<(), Fault> {
    match (left.unit, right.unit) {
        (Some(left), Some(right)) if left != right => Err(Fault::MixedUnits { left, right }),
        _ => Ok(()),
    }
}

fn is_at_least_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => is_at_least_zero(&inner.expr),
        Expr::NumberLiteral(number) => number.val >= 0.0,
        _ => false,
    }
}
