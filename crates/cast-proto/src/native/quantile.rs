//! Quantiles of few numbers.

/// The value at share `share` (0 to 1) of the sorted values; `None` if there are none.
pub(crate) fn quantile<T: PartialOrd + Copy>(values: &mut [T], share: f64) -> Option<T> {
    let last = u32::try_from(values.len().checked_sub(1)?).unwrap_or(u32::MAX);
    let at = (f64::from(last) * share.clamp(0.0, 1.0)).round();
    let at = (0..=last).position(|index| f64::from(index) >= at)?;
    let order = |a: &T, b: &T| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
    let (_, value, _) = values.select_nth_unstable_by(at, order);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_are_there() {
        let mut values = [5, 1, 4, 2, 3];
        let at = |values: &mut [i32], share| quantile(values, share).unwrap();
        assert_eq!(at(&mut values, 0.0), 1);
        assert_eq!(at(&mut values, 0.5), 3);
        assert_eq!(at(&mut values, 1.0), 5);
        assert_eq!(quantile::<u32>(&mut [], 0.5), None);
    }
}
