//! The order in which operands are joined.

use super::Labels;

/// Up to this many operands every order is considered: 3^8 pairs of subsets.
const EXHAUSTIVE: usize = 8;

/// Which operands to join, one pair after the other; the result takes the place of the first. The
/// product of all extents of a pair is what it costs.
pub(super) fn order(sets: &[Labels], output: Labels, extents: &[usize]) -> Vec<(usize, usize)> {
    match sets.len() {
        0 | 1 => vec![],
        2 => vec![(0, 1)],
        n if n <= EXHAUSTIVE => cheapest(sets, output, extents),
        _ => greedy(sets, output, extents),
    }
}

/// The order that takes the fewest multiplications: the best way to each subset of operands comes
/// from the best ways to its halves.
fn cheapest(sets: &[Labels], output: Labels, extents: &[usize]) -> Vec<(usize, usize)> {
    let all = (1usize << sets.len()) - 1;
    let union = |subset: usize| {
        let members = (0..sets.len()).filter(|&i| subset >> i & 1 == 1);
        members.fold(Labels::NONE, |labels, i| labels.or(sets[i]))
    };
    // What is left of a subset once it is joined.
    let labels: Vec<Labels> =
        (0..=all).map(|subset| union(subset).and(output.or(union(all & !subset)))).collect();
    // The cost of each subset, and the half of it that its first operand is in.
    let mut best = vec![(0.0, 0); all + 1];
    for subset in 1..=all {
        if subset.is_power_of_two() {
            continue;
        }
        let first = subset & subset.wrapping_neg();
        best[subset].0 = f64::INFINITY;
        let mut half = subset;
        loop {
            half = (half - 1) & subset;
            if half == 0 {
                break;
            }
            let other = subset & !half;
            let cost = best[half].0 + best[other].0 + labels[half].or(labels[other]).size(extents);
            if half & first != 0 && (cost < best[subset].0 || best[subset].1 == 0) {
                best[subset] = (cost, half);
            }
        }
    }
    let mut steps = Vec::with_capacity(sets.len() - 1);
    let mut open = vec![all];
    while let Some(subset) = open.pop() {
        if subset.is_power_of_two() {
            continue;
        }
        let half = best[subset].1;
        let other = subset & !half;
        steps.push((half.trailing_zeros() as usize, other.trailing_zeros() as usize));
        open.extend([half, other]);
    }
    // Halves come before what is made of them.
    steps.reverse();
    steps
}

/// The cheapest pair each time.
fn greedy(sets: &[Labels], output: Labels, extents: &[usize]) -> Vec<(usize, usize)> {
    let mut sets: Vec<Option<Labels>> = sets.iter().copied().map(Some).collect();
    let mut steps = Vec::with_capacity(sets.len() - 1);
    while steps.len() + 1 < sets.len() {
        let mut best = (f64::INFINITY, None);
        for i in 0..sets.len() {
            for j in i + 1..sets.len() {
                let (Some(a), Some(b)) = (sets[i], sets[j]) else { continue };
                let cost = a.or(b).size(extents);
                if cost < best.0 || best.1.is_none() {
                    best = (cost, Some((i, j)));
                }
            }
        }
        let (i, j) = best.1.expect("two operands are left");
        let pair = sets[i].take().expect("it is left").or(sets[j].take().expect("it is left"));
        let needed = sets.iter().flatten().fold(output, |all, &labels| all.or(labels));
        sets[i] = Some(pair.and(needed));
        steps.push((i, j));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &str) -> Labels {
        Labels::of(&labels.bytes().map(|c| c - b'a').collect::<Vec<_>>())
    }

    #[test]
    fn a_chain_of_matrices_is_joined_from_its_cheap_end() {
        // [10, 1000] [1000, 10] [10, 1000]: the first two make a small matrix.
        let extents = [10, 1000, 10, 1000];
        let sets = [set("ab"), set("bc"), set("cd")];
        assert_eq!(order(&sets, set("ad"), &extents), [(0, 1), (0, 2)]);
        // A vector at the end makes vectors of all products.
        let extents = [50, 50, 50, 1];
        assert_eq!(order(&sets, set("ad"), &extents), [(1, 2), (0, 1)]);
    }

    #[test]
    fn many_operands_are_joined_greedily() {
        let labels: Vec<Labels> = (0..10).map(|i| Labels::of(&[i, i + 1])).collect();
        let steps = order(&labels, Labels::of(&[0, 10]), &[2; 11]);
        assert_eq!(steps.len(), 9);
        let extents: Vec<usize> = (0..11).map(|i| if i == 10 { 1 } else { 9 }).collect();
        assert_eq!(order(&labels, Labels::of(&[0, 10]), &extents)[0], (8, 9));
    }
}
