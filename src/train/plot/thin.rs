//! Fewer points that look the same.

/// Of the points that fall in one column of a picture, the first, the lowest, the highest and the
/// last, which draw the same line (Jugel et al. 2014, "M4: a visualization-oriented time series data
/// aggregation"). A column of nothing but NaN keeps one.
pub(in crate::train) fn thin(
    points: &[(f64, f64)],
    column: impl Fn(f64) -> i64,
) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    for group in points.chunk_by(|a, b| column(a.0) == column(b.0)) {
        let numbers = || (0..group.len()).filter(|&i| !group[i].1.is_nan());
        let (Some(first), Some(last)) = (numbers().next(), numbers().next_back()) else {
            kept.push(group[0]);
            continue;
        };
        let by_value = |&a: &usize, &b: &usize| group[a].1.total_cmp(&group[b].1);
        let low = numbers().min_by(by_value).unwrap_or(first);
        let high = numbers().max_by(by_value).unwrap_or(first);
        let mut four = [first, low, high, last];
        four.sort_unstable();
        for (i, &index) in four.iter().enumerate() {
            if i == 0 || four[i - 1] != index {
                kept.push(group[index]);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_keeps_its_ends_and_extremes_in_order() {
        let values = [5.0, 9.0, 6.0, 1.0, 7.0];
        let points: Vec<_> = values.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
        assert_eq!(thin(&points, |_| 0), [(0.0, 5.0), (1.0, 9.0), (3.0, 1.0), (4.0, 7.0)]);
        assert_eq!(thin(&points, |x| x as i64), points);
        assert_eq!(thin(&points[..1], |_| 0), points[..1]);
        assert_eq!(thin(&[], |_| 0), []);
    }

    #[test]
    fn nan_is_kept_where_there_is_nothing_else() {
        let points = [(0.0, f64::NAN), (1.0, 2.0), (2.0, f64::NAN), (3.0, f64::NAN)];
        assert_eq!(thin(&points[..2], |_| 0), [(1.0, 2.0)]);
        let kept = thin(&points, |x| x as i64 / 2);
        assert_eq!((kept.len(), kept[0]), (2, (1.0, 2.0)));
        assert!(kept[1].1.is_nan());
    }
}
