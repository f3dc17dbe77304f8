//! Gradients through slices, assignments, scatters, pads and the like, which are made of smaller
//! operations: against finite differences, and with several values for one place.

use kiln_autograd::Autograd;
use kiln_autograd::check::Check;
use kiln_tensor::{
    AnyTensor, Bool, DType, Device, Distribution, IndexingUpdateOp, Int, PadMode, Tensor, s,
};

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let device = Device::cpu();
    device.seed(seed);
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&device, DType::F64))
}

/// Checks both orders of the gradient of `function(x, y)`.
#[track_caller]
fn check<const D: usize, const D2: usize>(
    name: &str,
    shapes: ([usize; D], [usize; D2]),
    function: impl Fn(&Tensor<D>, &Tensor<D2>) -> AnyTensor,
) {
    let inputs = [random(shapes.0, 3).into_any(), random(shapes.1, 4).into_any()];
    let function = |inputs: &[AnyTensor]| {
        let [x, y] = [0, 1].map(|i| inputs[i].clone());
        // Both have a part in the result, and a curvature.
        let (x, y) = (Tensor::from_any(x), Tensor::from_any(y));
        let result = function(&x, &y);
        let square = result.mul(&result);
        vec![square].into()
    };
    Check::default().first_order(&inputs, function).unwrap_or_else(|e| panic!("{name}: {e}"));
    Check::default().second_order(&inputs, function).unwrap_or_else(|e| panic!("{name}: {e}"));
}

#[test]
fn gradients_reach_the_old_and_the_new_values() {
    let ints = |values: [i64; 4]| Tensor::<1, Int>::from(values);
    check("slice_assign", ([3, 5], [2, 3]), |x, y| {
        x.slice_assign(s![..2;-1, 0..5;2], y).into_any()
    });
    for update in IndexingUpdateOp::ALL {
        check(&format!("select_assign {update:?}"), ([2, 3], [2, 4]), |x, y| {
            x.select_assign(1, ints([2, 0, 2, 2]), y, update).into_any()
        });
        check(&format!("scatter_nd {update:?}"), ([3, 2], [2, 2]), |x, y| {
            x.scatter_nd(Tensor::<2, Int>::from([[1], [1]]), y, update).into_any()
        });
    }
    check("masked_scatter", ([2, 2], [5]), |x, y| {
        let mask = Tensor::<2, Bool>::from([[true, false], [true, true]]);
        x.masked_scatter(mask, y).into_any()
    });
}

#[test]
fn gradients_come_through_pads_and_turns() {
    for mode in [PadMode::Constant(0.5), PadMode::Reflect, PadMode::Edge, PadMode::Circular] {
        check(&format!("{mode:?}"), ([3, 4], [3, 4]), |x, y| {
            (x * y).pad((3, 1, 2, 0), mode).into_any()
        });
    }
    check("roll", ([3, 4], [3, 4]), |x, y| (x * y).roll([1, -2], [0, 1]).into_any());
    check("triu", ([3, 4], [3, 4]), |x, y| (x * y).triu(1).tril(2).into_any());
    check("diag_embed", ([2, 3], [2, 3]), |x, y| (x * y).diag_embed::<3>(-1, 0, 2).into_any());
    check("diagonal", ([3, 4], [3, 4]), |x, y| (x * y).diagonal::<1>(1, 0, 1).into_any());
    check("repeat", ([3, 1], [3, 1]), |x, y| (x * y).repeat([2, 3]).into_any());
    check("gather_nd", ([3, 4], [3, 4]), |x, y| {
        (x * y).gather_nd::<2, 1>(Tensor::<2, Int>::from([[0, 1], [2, 3], [0, 1]])).into_any()
    });
    check("block_diag", ([1, 2], [2, 1]), |x, y| {
        Tensor::block_diag([x.clone(), y.clone()]).into_any()
    });
}

/// A factor of zero: the derivative is the product of the others.
#[test]
fn products_with_zeros_have_gradients() {
    let x = Tensor::<1>::from([0.0, 2.0, 3.0]).require_grad();
    let values = Tensor::<1>::from([5.0, 0.0, 0.0, 7.0]).require_grad();
    let index = Tensor::<1, Int>::from([0, 1, 2, 2]);
    let y = x.scatter(0, index, &values, IndexingUpdateOp::Mul);
    let gradients = y.backward();
    let numbers = |x: &Tensor<1>| x.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
    assert_eq!(numbers(&x), [5.0, 0.0, 0.0]);
    assert_eq!(numbers(&values), [0.0, 2.0, 21.0, 0.0]);
}

/// Assigning in place to a tracked tensor is recorded, and changes no other tensor.
#[test]
fn assignment_in_place_keeps_the_gradient() {
    let x = Tensor::<1>::from([1.0, 2.0, 3.0]).require_grad();
    let y = Tensor::<1>::from([4.0]).require_grad();
    let mut z = &x * 2.0;
    z.slice_assign_inplace(s![1], &y);
    let gradients = z.powi_scalar(2).backward();
    let numbers = |x: &Tensor<1>| x.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
    assert_eq!(numbers(&x), [8.0, 0.0, 24.0]);
    assert_eq!(numbers(&y), [8.0]);
    assert_eq!(x.into_data().to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0]);
}
