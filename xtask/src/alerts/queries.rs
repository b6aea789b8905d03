//! What can be said of a query without running it.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};

use super::exported::Exported;

/// What is wrong with `query`.
pub(super) fn problems(query: &str, exported: &Exported) -> Vec<String> {
    match selectors(query) {
        Ok(selectors) => {
            let problems = selectors.iter().map(|selector| judge(selector, exported));
            problems.flatten().collect()
        }
        Err(problem) => vec![problem],
    }
}

/// The names of the metrics that `query` asks for.
pub(super) fn metrics(query: &str) -> Vec<String> {
    let selectors = selectors(query).unwrap_or_default();
    let named = selectors.into_iter().filter_map(|selector| selector.name);
    named.collect()
}

/// Every selector in `query`.
fn selectors(query: &str) -> Result<Vec<VectorSelector>, String> {
    #[derive(Default)]
    struct Collected(Vec<VectorSelector>);
    impl ExprVisitor for Collected {
        type Error = String;
        fn pre_visit(&mut self, part: &Expr) -> Result<bool, String> {
            match part {
                Expr::VectorSelector(selector) => self.0.push(selector.clone()),
                Expr::MatrixSelector(selector) => self.0.push(selector.vs.clone()),
                _ => {}
            }
            Ok(true)
        }
    }
    let parsed = parser::parse(query)?;
    let mut collected = Collected::default();
    walk_expr(&mut collected, &parsed)?;
    Ok(collected.0)
}

fn judge(selector: &VectorSelector, exported: &Exported) -> Vec<String> {
    let mut problems = Vec::new();
    let name = selector.name.as_deref();
    problems.extend(name.and_then(|name| exported.problem_with(name)));
    for matcher in &selector.matchers.matchers {
        problems.extend(whole_edge(matcher));
        if matcher.name == "__name__" {
            problems.push(format!(
                "{matcher} names no metric; expected one by its name"
            ));
        }
        let Some(name) = name else { continue };
        let values = listed(matcher);
        let found = values
            .iter()
            .filter_map(|value| exported.problem_with_label(name, &matcher.name, value));
        problems.extend(found);
    }
    problems
}

/// The values that a matcher lists, if it does; a pattern such as `5..` lists none.
fn listed(matcher: &Matcher) -> Vec<&str> {
    match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![matcher.value.as_str()],
        MatchOp::Re(_) | MatchOp::NotRe(_) => {
            let plain = |value: &&str| {
                value
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '_' || c == ' ')
            };
            matcher.value.split('|').filter(plain).collect()
        }
    }
}

/// Prometheus 2 stores the edge 2 as `2`, Prometheus 3 as `2.0`: a query for one of them finds
/// nothing in the other, and no test of rules says so.
fn whole_edge(matcher: &Matcher) -> Option<String> {
    let whole = matcher.name == "le"
        && matcher
            .value
            .parse::<f64>()
            .is_ok_and(|edge| edge.fract() == 0.0);
    whole.then(|| {
        let edge = &matcher.value;
        format!("le={edge:?} is a whole number; expected an edge such as 0.2 or 2.5")
    })
}

#[cfg(test)]
mod tests {
    use super::super::exported::tests::exported;
    use super::*;

    #[test]
    fn a_query_names_what_is_exported() {
        let problems = |query| problems(query, &exported());
        assert_eq!(
            problems(r#"rate(wait_seconds_sum{phase="cook"}[5m]) > 2"#),
            [""; 0]
        );
        assert_eq!(problems("absent(forks == 1)").len(), 1);
        assert_eq!(problems(r#"wait_seconds_sum{phase=~"cook|eat"}"#).len(), 1);
        assert_eq!(problems(r#"wait_seconds_sum{phase!~"c.*"}"#), [""; 0]);
        assert_eq!(problems("sum(plates").len(), 1);
    }

    #[test]
    fn a_pattern_of_a_name_is_refused() {
        let problems = |query| problems(query, &exported());
        assert_eq!(problems(r#"{__name__=~"wait.+"}"#).len(), 1);
        assert_eq!(problems(r#"count({job="pangea-orchestrator"})"#), [""; 0]);
    }

    #[test]
    fn an_edge_that_is_a_whole_number_is_refused() {
        let problems = |edge| {
            problems(
                &format!("wait_seconds_bucket{{le=\"{edge}\"}}"),
                &exported(),
            )
        };
        assert_eq!(problems("0.2"), [""; 0]);
        assert_eq!(problems("2").len(), 1);
        assert_eq!(problems("2.0").len(), 1);
    }
}
