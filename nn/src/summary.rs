//! A table of what a model does to its input.

use std::fmt;

use kiln_autograd::no_grad;
use kiln_tensor::{AnyTensor, Device, Result, Shape, trace};

use crate::module::{Module, Path, VisitorMut};

/// The operations of a forward pass, with the layers they belong to.
///
/// It comes from running the model on a device that infers shapes and computes nothing, so it shows
/// what `forward` does, functions without layers included, and costs nothing.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The operations in order.
    pub rows: Vec<SummaryRow>,
    /// Trained numbers of the whole model.
    pub num_params: usize,
}

/// One operation of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// The path of the layer; empty for a function without parameters.
    pub layer: String,
    /// The operation.
    pub operation: &'static str,
    /// The shape of its result.
    pub output: Shape,
    /// Trained numbers that it uses, counted where they are used first.
    pub params: usize,
    /// Floating-point operations; a multiply-add counts two.
    pub flops: u64,
}

/// Gives every tensor of a model an address of its own on the shape-only device.
struct Move {
    device: Device,
    result: Result<()>,
    /// Path, address and size of each parameter.
    params: Vec<(String, usize, usize)>,
}

impl VisitorMut for Move {
    fn tensor(&mut self, _: &Path<'_>, tensor: &mut AnyTensor) {
        match tensor.to_device(&self.device) {
            Ok(moved) => *tensor = moved,
            Err(error) => self.result = Err(error),
        }
    }
    fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
        self.tensor(path, tensor);
        self.params.push((path.to_string(), tensor.buffer().address(), tensor.num_elements()));
    }
}

impl Summary {
    /// The summary of `forward`, which gets the model in evaluation mode and the device on which to
    /// make its input.
    ///
    /// ```
    /// use kiln_nn::{LinearConfig, Summary};
    /// use kiln_tensor::{Device, Tensor};
    /// let model = LinearConfig::new(4, 2).init(&Device::cpu());
    /// let summary = Summary::of(&model, |model, device| {
    ///     model.forward(&Tensor::<2>::zeros([1, 4], device));
    /// });
    /// assert_eq!(summary.rows[0].operation, "matmul");
    /// assert_eq!(summary.num_params, 10);
    /// ```
    #[track_caller]
    pub fn of<M: Module + Clone>(model: &M, forward: impl FnOnce(&M, &Device)) -> Self {
        let device = Device::shape_only();
        let mut model = model.clone();
        let mut visitor = Move { device, result: Ok(()), params: Vec::new() };
        model.visit_mut(&Path::ROOT, &mut visitor);
        kiln_tensor::OrFail::or_fail(visitor.result);
        model.eval();
        let ((), steps) = trace(|| no_grad(|| forward(&model, &device)));
        let mut params = visitor.params;
        let mut rows = Vec::new();
        for step in &steps {
            if step.inputs.is_empty() {
                // The input itself is made here.
                continue;
            }
            let mut row = SummaryRow {
                layer: String::new(),
                operation: step.op.spec().name(),
                output: step.outputs[0].meta.shape,
                params: 0,
                flops: step.cost().flops,
            };
            for input in &step.inputs {
                let Some(param) =
                    params.iter_mut().find(|(_, address, _)| *address == input.address)
                else {
                    continue;
                };
                row.layer = param.0.rsplit_once('.').map_or(&*param.0, |(layer, _)| layer).into();
                row.params += std::mem::take(&mut param.2);
            }
            rows.push(row);
        }
        Self { rows, num_params: model.num_params() }
    }

    /// Floating-point operations of the whole pass.
    pub fn flops(&self) -> u64 {
        self.rows.iter().map(|row| row.flops).sum()
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer = self.rows.iter().map(|row| row.layer.len()).max().unwrap_or(0).clamp(5, 30);
        let line = "-".repeat(layer + 2 + 20 + 20 + 12 + 14);
        writeln!(
            f,
            "{:layer$}  {:20}{:20}{:>12}{:>14}",
            "layer", "operation", "output", "params", "flops"
        )?;
        writeln!(f, "{line}")?;
        for row in &self.rows {
            let params = if row.params == 0 { String::new() } else { grouped(row.params as u64) };
            writeln!(
                f,
                "{:layer$}  {:20}{:20}{:>12}{:>14}",
                row.layer,
                row.operation,
                row.output.to_string(),
                params,
                grouped(row.flops)
            )?;
        }
        writeln!(f, "{line}")?;
        let (params, flops) = (grouped(self.num_params as u64), grouped(self.flops()));
        write!(f, "{:layer$}  {:40}{params:>12}{flops:>14}", "total", "")
    }
}
