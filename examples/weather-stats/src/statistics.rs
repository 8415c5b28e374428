//! Sums up numbers.

use std::collections::BTreeMap;

use tradewind_sdk::data;

#[data]
#[derive(Debug, PartialEq)]
pub(crate) struct Summary {
    mean: f64,
    min: f64,
    max: f64,
    /// By name: `p50` is the median.
    percentiles: BTreeMap<String, f64>,
}

impl Summary {
    /// None of no values. Percentiles are between 0 and 100.
    pub(crate) fn of(mut values: Vec<f64>, percentiles: &[f64]) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let percentiles = percentiles
            .iter()
            .map(|percentile| (format!("p{percentile}"), rounded(interpolated(&values, *percentile))))
            .collect();
        Some(Self { mean: rounded(mean), min: rounded(min), max: rounded(max), percentiles })
    }
}

/// Linear between the two nearest values, as NumPy and R do it by default.
fn interpolated(sorted: &[f64], percentile: f64) -> f64 {
    let rank = percentile / 100.0 * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    below + (above - below) * rank.fract()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_interpolated() {
        let summary = Summary::of(vec![4.0, 1.0, 2.0, 3.0], &[0.0, 50.0, 90.0, 100.0]).unwrap();
        let percentiles = [("p0", 1.0), ("p50", 2.5), ("p90", 3.7), ("p100", 4.0)];
        assert_eq!(
            summary,
            Summary {
                mean: 2.5,
                min: 1.0,
                max: 4.0,
                percentiles: percentiles.map(|(name, value)| (name.to_owned(), value)).into()
            }
        );
    }

    #[test]
    fn one_value_is_all_of_its_percentiles() {
        let summary = Summary::of(vec![1.234], &[50.0]).unwrap();
        assert_eq!(summary.percentiles["p50"], 1.23);
    }

    #[test]
    fn of_nothing_there_is_no_summary() {
        assert_eq!(Summary::of(vec![], &[50.0]), None);
    }
}
