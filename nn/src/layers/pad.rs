//! Padding as a layer.

use kiln_tensor::{AnyTensor, Error, PadMode, Tensor};

use super::layer_of_any_rank;
use crate::{Config, Module, PaddingMode};

/// What a [`Pad`] is made of.
#[derive(Config, Debug)]
pub struct PadConfig {
    /// How much is added before and after each of the last axes, from the first of them on:
    /// `[(left, right)]`, `[(top, bottom), (left, right)]`, ...
    #[config(into)]
    pub padding: Vec<(usize, usize)>,
    /// What stands there.
    #[config(default = PaddingMode::Zeros)]
    pub mode: PaddingMode,
}

impl PadConfig {
    /// Makes the layer.
    pub fn init(&self) -> Pad {
        Pad { padding: self.padding.clone(), mode: self.mode }
    }
}

/// Numbers around sequences, images and volumes: `torch.nn.ZeroPad1d`, `ConstantPad1d`,
/// `ReflectionPad1d`, `ReplicationPad1d`, `CircularPad1d` and their like of more axes. PyTorch names
/// the axes from the last one on, and this layer in their order.
///
/// ```
/// use kiln_nn::{PadConfig, PaddingMode};
/// use kiln_tensor::Tensor;
/// let layer = PadConfig::new([(2, 1)]).with_mode(PaddingMode::Reflect).init();
/// let y = layer.forward(&Tensor::<3>::from([[[1.0, 2.0, 3.0]]]));
/// assert_eq!(y.into_data().to_vec::<f32>()?, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Pad {
    /// How much is added before and after each of the last axes.
    #[module(skip)]
    pub padding: Vec<(usize, usize)>,
    /// What stands there.
    #[module(skip)]
    pub mode: PaddingMode,
}

impl Pad {
    /// Any shape with at least as many axes as the padding. Panics if a mirrored or circular
    /// border is longer than what is inside.
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        let (shape, axes) = (x.shape(), self.padding.len());
        let Some(lead) = shape.rank().checked_sub(axes) else {
            let rule = format!("the padding has {axes} axes");
            kiln_tensor::fail(Error::Shape { op: "pad", shapes: vec![shape], rule })
        };
        // One axis at a time, as the middle one of three.
        (0..axes).fold(x.clone(), |x, i| {
            let (shape, axis) = (x.shape(), lead + i);
            let before = shape[..axis].iter().product();
            let after = shape[axis + 1..].iter().product();
            let lines = Tensor::<3>::from_any(x.reshape([before, shape[axis], after]));
            let y = lines.pad([self.padding[i], (0, 0)], PadMode::from(self.mode));
            y.as_any().reshape(shape.with(axis, y.dims()[1]))
        })
    }
}

layer_of_any_rank!(Pad);
