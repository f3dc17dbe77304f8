//! Gradients of sorting, selection, running totals and statistics: where entries tie or are zero
//! as PyTorch gives them (`tensor/tests/fixtures/order.py`), and of composed functions against
//! finite differences.

use kiln_autograd::check::Check;
use kiln_autograd::{Autograd, Backward};
use kiln_tensor::{
    AnyTensor, Bool, Device, Float, Outputs, QuantileInterpolation, Tensor, TensorData,
};

#[allow(dead_code)] // Shared: no test file uses all of it.
#[path = "../../tensor/tests/pytorch/fixture.rs"]
mod fixture;

use fixture::{Fixture, LONG, SHORT, load};

static TORCH: Fixture =
    Fixture::new(|| load(include_bytes!("../../tensor/tests/fixtures/order.safetensors")));

#[test]
fn running_totals_with_and_without_zeros() {
    type Scan = fn(&Tensor<3>, usize) -> Tensor<3>;
    let scans: [(&str, Scan); 3] = [
        ("cumsum", |x, dim| x.cumsum(dim)),
        ("cumprod", |x, dim| x.cumprod(dim)),
        ("logcumsumexp", |x, dim| x.logcumsumexp(dim)),
    ];
    let dy = TORCH.get::<3, Float>("scan.dy");
    for (name, scan) in scans {
        for kind in ["smooth", "zeros"] {
            for dim in 0..3 {
                let name = |part: &str| format!("scan.{name}.{kind}.{dim}.{part}");
                let x = TORCH.get::<3, Float>(kind).require_grad();
                let y = scan(&x, dim);
                let grads = Backward::new().create_graph().seed(&dy).run(&y);
                let dx = x.grad(&grads).unwrap();
                TORCH.near(&name("dx"), dx.as_any(), LONG);
                if dx.is_tracked() {
                    let second = dx.square().sum().backward();
                    TORCH.near(&name("ddx"), x.grad(&second).unwrap().as_any(), 5e-5);
                }
            }
        }
    }
}

#[test]
fn equal_entries() {
    type Function = fn(&Tensor<2>) -> Tensor<2>;
    let functions: [(&str, Function); 5] = [
        ("sort", |x| x.sort(1)),
        ("cummax", |x| x.cummax(1)),
        ("cummin", |x| x.cummin(1)),
        ("max", |x| x.max_dim_with_indices(1).0),
        ("std", |x| x.std(1)),
    ];
    for (name, function) in functions {
        let rows = Tensor::<1, kiln_tensor::Int>::from([1, 3]);
        let x = TORCH.get::<2, Float>("ties").select(0, rows).require_grad();
        let dy = TORCH.get::<2, Float>(&format!("grad.{name}.dy"));
        let grads = Backward::new().seed(dy).run(&function(&x));
        TORCH.near(&format!("grad.{name}.dx"), x.grad(&grads).unwrap().as_any(), SHORT);
    }
}

#[test]
fn quantiles_of_a_tensor_and_of_their_ranks() {
    let x = TORCH.get::<3, Float>("smooth").require_grad();
    let q = TORCH.get::<1, Float>("q").narrow(0, 1, 4).require_grad();
    let y = x.quantiles(&q, 1, QuantileInterpolation::Linear);
    let grads = Backward::new().seed(TORCH.get::<3, Float>("quantile.dy")).run(&y);
    TORCH.near("quantile.dx", x.grad(&grads).unwrap().as_any(), SHORT);
    TORCH.near("quantile.dq", q.grad(&grads).unwrap().as_any(), LONG);
}

#[test]
fn elements_chosen_by_a_mask() {
    let x = TORCH.get::<3, Float>("smooth").require_grad();
    let y = x.mask_select(TORCH.get::<3, Bool>("mask")).square().sum();
    TORCH.near("masked.dx", x.grad(&y.backward()).unwrap().as_any(), SHORT);
}

#[test]
fn infinities_leave_the_other_gradients_alone() {
    let x = Tensor::<1>::from([f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 3.0]).require_grad();
    let dx = x.grad(&x.logcumsumexp(0).slice(1..4).sum().backward()).unwrap();
    let share = 1.0 / (1.0 + 2f64.exp());
    let expected = TensorData::from([0.0, 2.0 + share, 0.0, 1.0 - share]);
    let tolerance = kiln_tensor::Tolerance::<f32>::rel_abs(1e-6, 1e-6);
    dx.to_data().assert_approx_eq(&expected, tolerance);
}

/// Both orders of a function of a matrix without ties.
#[track_caller]
fn check(name: &str, function: impl Fn(&Tensor<2>) -> AnyTensor + Copy) {
    let numbers: Vec<f64> = (0..12).map(|i| ((i * 5 + 1) % 12) as f64 * 0.3 - 1.55).collect();
    let x = [AnyTensor::from_data(&TensorData::new(numbers, [3, 4]), &Device::cpu()).unwrap()];
    let run = |inputs: &[AnyTensor]| -> Outputs {
        [function(&Tensor::from_any(inputs[0].clone()))].into_iter().collect()
    };
    Check::default().first_order(&x, run).unwrap_or_else(|e| panic!("{name}: {e}"));
    Check::default().second_order(&x, run).unwrap_or_else(|e| panic!("{name}: {e}"));
}

#[test]
fn composed_functions_follow_finite_differences() {
    check("topk", |x| x.topk(2, 1).square().into_any());
    check("kthvalue", |x| x.kthvalue(2, 0).0.square().into_any());
    check("median", |x| x.median(1).square().into_any());
    check("nanmedian", |x| x.nanmedian(1).square().into_any());
    check("mode", |x| x.mode(1).0.square().into_any());
    check("min", |x| x.min_dim_with_indices(0).0.square().into_any());
    check("max_abs", |x| x.max_abs_dim(0).square().into_any());
    check("nansum", |x| x.nansum_dim(0).square().into_any());
    check("nanmean", |x| x.nanmean_dim(1).square().into_any());
    check("var", |x| x.var(1).into_any());
    check("std", |x| x.std(0).into_any());
    check("var_mean", |x| x.var_mean(0).0.mul(x.var_mean_bias(0).1).into_any());
    check("cov", |x| x.cov(1, 1).into_any());
    check("corrcoef", |x| x.narrow(0, 0, 2).corrcoef().slice([0..1, 1..2]).into_any());
    check("quantile", |x| x.quantile(0.3, 1, QuantileInterpolation::Linear).square().into_any());
    check("midpoint", |x| x.nanquantile(0.3, 1, QuantileInterpolation::Midpoint).into_any());
    check("unique", |x| x.unique().square().into_any());
    check("histogram weights", |x| {
        let place = Tensor::<2>::from([[0.1, 0.2, 0.7, 0.9], [0.5; 4], [0.3; 4]]);
        let place = place.cast(kiln_tensor::DType::F64);
        place.histogram(3, Some((0.0, 1.0)), Some(&x.square()), true).0.into_any()
    });
}
