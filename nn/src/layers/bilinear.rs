//! A layer of two inputs.

use kiln_tensor::{Device, Error, Shape, Tensor};

use crate::{Config, Initializer, Module, Param};

/// What a [`Bilinear`] is made of.
#[derive(Config, Debug)]
pub struct BilinearConfig {
    /// Features of the first input.
    pub in1_features: usize,
    /// Features of the second input.
    pub in2_features: usize,
    /// Features of the output.
    pub out_features: usize,
    /// With or without a bias.
    #[config(default = true)]
    pub bias: bool,
    /// Other first values than PyTorch's; the bias starts with them too.
    #[config(default = Initializer::layer_default())]
    pub initializer: Initializer,
}

impl BilinearConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> Bilinear {
        let Self { in1_features: in1, in2_features: in2, out_features: out, .. } = *self;
        let init = &self.initializer;
        Bilinear {
            weight: init.init_with_fan::<3>([out, in1, in2], in1, out, device).into(),
            bias: self.bias.then(|| init.init_with_fan::<1>([out], in1, out, device).into()),
        }
    }
}

/// `torch.nn.Bilinear`: `y = x1^T weight x2 + bias`.
#[derive(Clone, Debug, Module)]
pub struct Bilinear {
    /// `[out, in1, in2]`
    pub weight: Param<Tensor<3>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Bilinear {
    /// `x1` `[.., in1]` and `x2` `[.., in2]` to `[.., out]`. Panics if the leading axes differ.
    #[track_caller]
    pub fn forward<const D: usize>(&self, x1: &Tensor<D>, x2: &Tensor<D>) -> Tensor<D> {
        let [out, in1, in2] = self.weight.dims();
        let (a, b) = (x1.dims(), x2.dims());
        if D == 0 || a[..D - 1] != b[..D - 1] || a[D - 1] != in1 || b[D - 1] != in2 {
            let rule = format!("expected [.., {in1}] and [.., {in2}] of one leading shape");
            let shapes = vec![x1.shape(), x2.shape()];
            kiln_tensor::fail(Error::Shape { op: "bilinear", shapes, rule });
        }
        let rows = a[..D - 1].iter().product();
        let matrix: Tensor<2> = self.weight.permute([1, 0, 2]).reshape([in1, out * in2]);
        let left: Tensor<2> = x1.reshape([rows, in1]);
        let left: Tensor<3> = left.matmul(matrix).reshape([rows, out, in2]);
        let right: Tensor<3> = x2.reshape([rows, in2, 1]);
        let mut y: Tensor<2> = left.matmul(right).reshape([rows, out]);
        if let Some(bias) = &self.bias {
            y += bias.reshape([1, out]);
        }
        let shape = Shape::new([&a[..D - 1], &[out]].concat());
        Tensor::from_any(y.as_any().reshape(shape))
    }
}
