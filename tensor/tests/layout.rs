//! Chains of views against a naive map from each index to the element it shows.

mod common;

use common::{indices, linear, view};
use kiln_tensor::op::View;
use kiln_tensor::{AnyTensor, AxisSlice, Device, Int, Shape, Slice, Tensor, TensorData};
use proptest::prelude::*;

/// A tensor by its meaning alone: which element of the original each position shows.
struct Map {
    shape: Vec<usize>,
    elements: Vec<usize>,
}

impl Map {
    fn identity(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), elements: (0..shape.iter().product()).collect() }
    }

    /// The map of `shape` whose position `index` shows what `source(index)` showed before.
    fn with(&self, shape: Vec<usize>, source: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let elements = indices(&shape)
            .map(|index| self.elements[linear(&self.shape, &source(&index))])
            .collect();
        Self { shape, elements }
    }
}

/// A view that fits `shape`, picked by a stream of numbers.
fn choose(shape: &[usize], mut pick: impl FnMut(usize) -> usize) -> View {
    let rank = shape.len();
    match if rank == 0 { 1 } else { pick(7) } {
        0 => {
            let mut axes: Vec<u8> = (0..rank as u8).collect();
            (1..rank).for_each(|i| axes.swap(i, pick(i + 1)));
            View::Permute(axes.into_iter().collect())
        }
        1 => {
            let lead = if rank < 6 { pick(2) } else { 0 };
            let mut dims: Vec<usize> = (0..lead).map(|_| 1 + pick(3)).collect();
            dims.extend(shape.iter().map(|&n| if n == 1 { 1 + pick(3) } else { n }));
            View::Expand(Shape::new(dims))
        }
        2 if rank < 7 => {
            let axis = pick(rank);
            let size = 1 + pick(shape[axis].max(1));
            let size = size.min(shape[axis]);
            if size == 0 {
                return View::Detach;
            }
            View::Unfold { axis, size, step: 1 + pick(3) }
        }
        3 if rank >= 2 => {
            let first = pick(rank);
            View::Diagonal(first, (first + 1 + pick(rank - 1)) % rank)
        }
        4 => {
            // Factors of the number of elements, in a random order.
            let mut rest: usize = shape.iter().product();
            let mut dims = Vec::new();
            for factor in [2, 3, 5, 2, 3] {
                if rest > 0 && rest.is_multiple_of(factor) && dims.len() < 5 && pick(2) == 0 {
                    dims.push(factor);
                    rest /= factor;
                }
            }
            dims.insert(pick(dims.len() + 1), rest);
            View::Reshape(Shape::new(dims))
        }
        _ => {
            let axis = pick(rank);
            let (extent, stride) = (shape[axis], 1 + pick(3));
            let len = pick(extent + 1);
            let len = len.min(extent.div_ceil(stride));
            let reach = len.saturating_sub(1) * stride;
            let low = if len == 0 { 0 } else { pick(extent - reach) };
            let (start, step) = if pick(2) == 0 {
                (low, stride as isize)
            } else {
                (low + reach, -(stride as isize))
            };
            View::Slice([AxisSlice { axis, start, len, step }].into_iter().collect())
        }
    }
}

/// What `view` means.
fn naive(map: &Map, view: &View) -> Map {
    let shape = &map.shape;
    match view {
        View::Reshape(to) => Map { shape: to.to_vec(), elements: map.elements.clone() },
        View::Permute(axes) => {
            let dims = axes.iter().map(|&axis| shape[axis as usize]).collect();
            map.with(dims, |index| {
                let mut from = vec![0; index.len()];
                axes.iter().zip(index).for_each(|(&axis, &i)| from[axis as usize] = i);
                from
            })
        }
        View::Expand(to) => map.with(to.to_vec(), |index| {
            let own = &index[to.rank() - shape.len()..];
            own.iter().zip(shape).map(|(&i, &n)| i.min(n - 1)).collect()
        }),
        View::Slice(slices) => {
            let mut dims = shape.clone();
            slices.iter().for_each(|slice| dims[slice.axis] = slice.len);
            map.with(dims, |index| {
                let mut from = index.to_vec();
                for slice in slices {
                    let moved = slice.start as isize + index[slice.axis] as isize * slice.step;
                    from[slice.axis] = moved as usize;
                }
                from
            })
        }
        &View::Unfold { axis, size, step } => {
            let mut dims = shape.clone();
            dims[axis] = (shape[axis] - size) / step + 1;
            dims.push(size);
            map.with(dims, |index| {
                let (&offset, windows) = index.split_last().unwrap();
                let mut from = windows.to_vec();
                from[axis] = from[axis] * step + offset;
                from
            })
        }
        &View::Diagonal(first, second) => {
            let kept: Vec<usize> =
                (0..shape.len()).filter(|&axis| axis != first && axis != second).collect();
            let mut dims: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
            dims.push(shape[first].min(shape[second]));
            map.with(dims, |index| {
                let mut from = vec![*index.last().unwrap(); shape.len()];
                kept.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
                from
            })
        }
        View::Detach => Map { shape: shape.clone(), elements: map.elements.clone() },
        View::AsReal | View::AsComplex => unreachable!("the chains are of real numbers"),
    }
}

fn numbered(shape: &[usize]) -> AnyTensor {
    let values: Vec<i64> = (0..shape.iter().product::<usize>() as i64).collect();
    AnyTensor::from_data(&TensorData::new(values, shape), &Device::cpu()).unwrap()
}

fn elements(x: &AnyTensor) -> Vec<usize> {
    x.to_data().unwrap().iter::<i64>().map(|i| i as usize).collect()
}

/// Whether some strides give the elements of `map` in row-major order of its shape, starting at
/// the first: then a reshape needs no copy.
fn viewable(map: &Map) -> bool {
    if map.elements.is_empty() {
        return true;
    }
    let at = |index: &[usize]| map.elements[linear(&map.shape, index)] as isize;
    let zero = vec![0; map.shape.len()];
    let strides: Vec<isize> = (0..map.shape.len())
        .map(|axis| {
            let mut one = zero.clone();
            one[axis] = 1.min(map.shape[axis] - 1);
            at(&one) - at(&zero)
        })
        .collect();
    indices(&map.shape).all(|index| {
        let steps: isize = index.iter().zip(&strides).map(|(&i, stride)| i as isize * stride).sum();
        at(&index) == at(&zero) + steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn chains_of_views_show_the_right_elements(
        dims in prop::collection::vec(0usize..7, 0..4),
        picks in prop::collection::vec(0usize..1 << 20, 80),
    ) {
        let mut picks = picks.into_iter().cycle();
        let mut pick = |n: usize| picks.next().unwrap() % n.max(1);
        let (mut x, mut map) = (numbered(&dims), Map::identity(&dims));
        let (address, mut copied) = (x.buffer().address(), false);
        for _ in 0..6 {
            let next = choose(&map.shape, &mut pick);
            if map.elements.len() > 3000 {
                break;
            }
            let shown = naive(&map, &next);
            let views = next.layout(x.layout()).is_ok();
            match &next {
                // A reshape that is no view must be impossible as one; then it copies.
                View::Reshape(shape) if !views => {
                    prop_assert!(copied || !viewable(&shown), "{next:?} of {:?}", x.layout());
                    x = x.reshape(*shape);
                    copied = true;
                }
                next => {
                    prop_assert!(views, "{next:?} of {:?}", x.layout());
                    let before = x.buffer().address();
                    x = match next {
                        View::Reshape(shape) => x.reshape(*shape),
                        next => view(&x, next.clone()),
                    };
                    prop_assert_eq!(x.buffer().address(), before, "a view copies nothing");
                }
            }
            map = shown;
            prop_assert_eq!(&x.shape()[..], &map.shape[..]);
            prop_assert_eq!(elements(&x), map.elements.clone(), "after {:?}", next);
            prop_assert_eq!(elements(&x.contiguous()), map.elements.clone());
        }
        prop_assert!(copied || x.buffer().address() == address);
    }

    #[test]
    fn a_gradient_through_a_view_adds_every_element_where_it_was_read(
        dims in prop::collection::vec(0usize..6, 1..4),
        picks in prop::collection::vec(0usize..1 << 20, 40),
    ) {
        let mut picks = picks.into_iter().cycle();
        let map = Map::identity(&dims);
        let next = choose(&dims, |n| picks.next().unwrap() % n.max(1));
        let shown = naive(&map, &next);
        let mut expected = vec![0; map.elements.len()];
        shown.elements.iter().enumerate().for_each(|(i, &element)| expected[element] += i);
        let gradient = numbered(&shown.shape).unview(next, Shape::new(&dims));
        prop_assert_eq!(elements(&gradient), expected);
    }
}

/// A part of each axis as a user writes it, with bounds on both sides of the ends.
fn slices(rank: usize, mut pick: impl FnMut(usize) -> usize) -> Vec<Slice> {
    let slice = |_| {
        let start = if pick(3) == 0 { 0 } else { pick(21) as isize - 10 };
        let end = (pick(3) != 0).then(|| pick(21) as isize - 10);
        Slice::new(start, end, [1, 2, 3, -1, -2, -5][pick(6)])
    };
    (0..rank).map(slice).collect()
}

/// The entries of an axis in a slice: those of the range, forwards from its start or backwards from
/// its end.
fn entries(slice: &Slice, extent: usize) -> Vec<usize> {
    let n = extent as isize;
    let bound = |at: isize| if at < 0 { (at + n).max(0) } else { at.min(n) };
    let range = bound(slice.start)..slice.end.map_or(n, bound);
    let step = slice.step.unsigned_abs();
    let entries: Vec<usize> = range.map(|i| i as usize).collect();
    if slice.step > 0 {
        entries.into_iter().step_by(step).collect()
    } else {
        entries.into_iter().rev().step_by(step).collect()
    }
}

fn sliced(map: &Map, slices: &[Slice]) -> Map {
    let lists: Vec<Vec<usize>> =
        slices.iter().zip(&map.shape).map(|(slice, &n)| entries(slice, n)).collect();
    map.with(lists.iter().map(Vec::len).collect(), |index| {
        index.iter().zip(&lists).map(|(&i, list)| list[i]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn slices_with_steps_show_and_assign_the_right_elements(
        dims in prop::array::uniform3(0usize..7),
        picks in prop::collection::vec(0usize..1 << 20, 80),
    ) {
        let mut picks = picks.into_iter().cycle();
        let mut pick = |n: usize| picks.next().unwrap() % n;
        let mut x = Tensor::<3, Int>::from_any(numbered(&dims));
        let mut map = Map::identity(&dims);
        for _ in 0..3 {
            // A slice of a turned tensor, and new values in a part of that.
            let turn = [pick(3), pick(3)];
            x = x.swap_dims(turn[0], turn[1]);
            map = naive(&map, &View::Permute({
                let mut axes = [0, 1, 2];
                axes.swap(turn[0], turn[1]);
                axes.into_iter().collect()
            }));
            let parts = slices(3, &mut pick);
            let part = sliced(&map, &parts);
            prop_assert_eq!(elements(x.slice(&parts).as_any()), part.elements.clone(), "{:?}", parts);
            let values: Vec<usize> = (0..part.elements.len()).map(|i| 1000 + i).collect();
            let mut expected = map.elements.clone();
            for (element, value) in part.elements.iter().zip(&values) {
                let place = map.elements.iter().position(|e| e == element).unwrap();
                expected[place] = *value;
            }
            let data: Vec<i64> = values.iter().map(|&value| value as i64).collect();
            let data = TensorData::new(data, Shape::new(&part.shape));
            let values = Tensor::<3, Int>::from_data(data, &Device::cpu());
            let assigned = x.slice_assign(&parts, &values);
            prop_assert_eq!(elements(assigned.as_any()), expected.clone());
            prop_assert_eq!(elements(x.as_any()), map.elements.clone(), "the original stays");
            prop_assert_eq!(elements(assigned.slice(&parts).as_any()), elements(values.as_any()));
            let mut given = x.clone();
            given.slice_assign_inplace(&parts, &values);
            prop_assert_eq!(elements(given.as_any()), expected);
            if pick(2) == 0 && !part.elements.is_empty() {
                x = x.slice(&parts);
                map = part;
            }
        }
    }
}

#[test]
fn reshapes_of_permuted_tensors_copy_only_where_they_must() {
    let x = Tensor::<3>::zeros([2, 3, 4], &Device::cpu());
    let shares = |a: &AnyTensor, b: &AnyTensor| a.buffer().address() == b.buffer().address();
    let turned = x.permute([2, 0, 1]);
    // Axes 0 and 1 of `x` are still neighbours.
    assert!(shares(turned.reshape([4, 6]).as_any(), x.as_any()));
    assert!(shares(turned.reshape([2, 2, 6]).as_any(), x.as_any()));
    assert!(!shares(turned.reshape([24]).as_any(), x.as_any()));
    // A reversed axis still splits, and repeated axes of stride zero join.
    let reversed = x.flip([2]);
    assert!(shares(reversed.reshape([2, 3, 2, 2]).as_any(), x.as_any()));
    let repeated = x.slice([0..1, 0..1, 0..1]).expand([2, 3, 4]);
    assert!(shares(repeated.reshape([24]).as_any(), x.as_any()));
    // Nothing is copied to make an empty tensor.
    assert_eq!(x.slice(0..0).permute([2, 1, 0]).reshape([0usize, 12]).dims(), [0, 12]);
}

#[test]
fn contiguous_copies_only_where_it_must() {
    let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let row = x.slice(1..2);
    assert_eq!(row.contiguous().as_any().buffer().address(), x.as_any().buffer().address());
    let column = x.slice([0..3, 1..2]).contiguous();
    assert_ne!(column.as_any().buffer().address(), x.as_any().buffer().address());
    assert!(column.as_any().layout().is_contiguous());
    assert_eq!(column.into_data().to_vec::<f32>().unwrap(), [2.0, 4.0, 6.0]);
}
