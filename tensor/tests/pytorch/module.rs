//! Indices and edges of the functions behind layers: `fixtures/module.py`. Their other values are
//! compared together with their gradients, in the tests of the autograd crate.

use kiln_tensor::{AnyTensor, Int, Kind, Tensor, module};

use crate::fixture::{Fixture, load};

static TORCH: Fixture = Fixture::new(|| load(include_bytes!("../fixtures/module.safetensors")));

#[track_caller]
fn both<const D: usize>(name: &str, (y, index): (Tensor<D>, Tensor<D, Int>)) {
    TORCH.same(&format!("{name}.y"), y.as_any());
    TORCH.same(&format!("{name}.index"), index.as_any());
}

fn x<const D: usize, K: Kind>(name: &str) -> Tensor<D, K> {
    TORCH.get(&format!("{name}.x"))
}

#[test]
fn where_the_maxima_of_windows_are() {
    for (name, ceil) in [("False", false), ("True", true)] {
        let key = format!("max_pool1d.{name}");
        both(&key, module::max_pool1d_with_indices(x(&key), 3, 2, 1, 2, ceil));
        let key = format!("max_pool2d.{name}");
        let [kernel, stride, padding, dilation] = [[3, 2], [2, 3], [1, 1], [2, 3]];
        let x2 = x::<4, _>(&key);
        both(&key, module::max_pool2d_with_indices(x2, kernel, stride, padding, dilation, ceil));
        let key = format!("max_pool3d.{name}");
        let [kernel, stride, padding, dilation] = [[2, 3, 2], [2, 2, 3], [1, 1, 0], [1, 2, 3]];
        let x3 = x::<5, _>(&key);
        both(&key, module::max_pool3d_with_indices(x3, kernel, stride, padding, dilation, ceil));
    }
    let special = x::<4, _>("max_pool.special");
    let pooled = module::max_pool2d_with_indices(special, [2, 2], [2, 2], [0, 0], [1, 1], false);
    both("max_pool.special", pooled);
    let image = x::<4, _>("max_pool2d.False");
    let (y, index) = module::max_pool2d_with_indices(image, [2, 2], [2, 2], [0, 0], [1, 1], false);
    TORCH.same("unpool.y", module::max_unpool2d(y, index, [8, 7]).as_any());
}

#[test]
fn where_the_maxima_of_even_windows_are() {
    for (name, size) in [("adaptive_max.1d", 4), ("adaptive_max.1d_one", 1)] {
        both(name, module::adaptive_max_pool1d_with_indices(x(name), size));
    }
    for (name, size) in [("adaptive_max.2d", [3, 7]), ("adaptive_max.2d_up", [5, 6])] {
        both(name, module::adaptive_max_pool2d_with_indices(x(name), size));
    }
    let name = "adaptive_max.3d";
    both(name, module::adaptive_max_pool3d_with_indices(x(name), [2, 3, 4]));
}

#[test]
fn f64_is_kept() {
    let x: AnyTensor = TORCH.any("conv3d.plain.x").cast(kiln_tensor::DType::F64);
    let w = TORCH.any("conv3d.plain.w").cast(kiln_tensor::DType::F64);
    let b = TORCH.any("conv3d.plain.b").cast(kiln_tensor::DType::F64);
    let [x, w]: [Tensor<5>; 2] = [x, w].map(Tensor::from_any);
    let y = module::conv3d(x, w, Some(Tensor::from_any(b)), module::ConvOptions::default());
    // One rounding of the stored value is all that is left between both.
    TORCH.near("conv3d.plain.y", &y.as_any().cast(kiln_tensor::DType::F32), 1e-6);
}
