//! A table of what a model does to its input.

use std::fmt;

use kiln_autograd::no_grad;
use kiln_tensor::text::{end, grouped};
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
    /// The numbers in the parameters of the whole model.
    pub num_params: usize,
    /// Those of them that are trained.
    pub num_trainable: usize,
    /// The memory of the parameters, in bytes.
    pub param_bytes: u64,
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
    /// Numbers in the parameters that it uses, counted where they are used first.
    pub params: usize,
    /// Floating-point operations; a multiply-add counts two.
    pub flops: u64,
    /// The memory of its results in bytes, most of which training keeps for the backward pass.
    pub bytes: u64,
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
    /// assert_eq!((summary.num_params, summary.flops(), summary.bytes()), (10, 16, 8));
    /// println!("{summary}");
    /// ```
    ///
    /// A small network for images prints as
    ///
    /// ```text
    /// layer  operation           output                    params       FLOPs      memory
    /// -----------------------------------------------------------------------------------
    /// conv   conv2d              [8, 16, 16, 16]              448      1.77 M   128.0 KiB
    /// norm   batch_norm          [8, 16, 16, 16]               32     65.54 k   128.0 KiB
    ///        relu                [8, 16, 16, 16]                      32.77 k   128.0 KiB
    ///        max_pool2d          [8, 16, 8, 8]                        32.77 k    64.0 KiB
    /// fc     matmul              [8, 10]                   10,250    163.84 k       320 B
    /// -----------------------------------------------------------------------------------
    /// total                                                10,730      2.06 M   448.3 KiB
    /// 10,730 parameters (41.9 KiB), 10,730 of them trained
    /// ```
    #[track_caller]
    pub fn of<M: Module + Clone>(model: &M, forward: impl FnOnce(&M, &Device)) -> Self {
        let device = Device::shape_only();
        let num_trainable = model.num_trainable_params();
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
                bytes: step.outputs.iter().map(|output| output.meta.bytes() as u64).sum(),
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
        let memory = |(_, tensor): &(String, AnyTensor)| tensor.meta().bytes() as u64;
        Self {
            rows,
            num_params: model.num_params(),
            num_trainable,
            param_bytes: model.named_params().iter().map(memory).sum(),
        }
    }

    /// Floating-point operations of the whole pass.
    pub fn flops(&self) -> u64 {
        self.rows.iter().map(|row| row.flops).sum()
    }

    /// The memory of all results in bytes: about what training holds until the backward pass,
    /// beside the parameters and what single operations keep of their own.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.bytes).sum()
    }
}

/// Three digits and a unit: `1.77 M`, `9.2 GiB`; the units are `step` apart.
fn short(number: u64, step: f64, digits: usize, units: [&str; 5]) -> String {
    let (mut value, mut unit) = (number as f64, 0);
    while value >= step && unit + 1 < units.len() {
        (value, unit) = (value / step, unit + 1);
    }
    let digits = if unit == 0 { 0 } else { digits };
    format!("{value:.digits$} {}", units[unit]).trim_end().into()
}

fn flops(number: u64) -> String {
    short(number, 1000.0, 2, ["", "k", "M", "G", "T"])
}

fn memory(bytes: u64) -> String {
    short(bytes, 1024.0, 1, ["B", "KiB", "MiB", "GiB", "TiB"])
}

/// The widest column of layers, which keeps the table within 100 characters; of longer paths the
/// end is shown.
const LAYER: usize = 22;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.rows.iter().map(|row| row.layer.chars().count()).max();
        let width = longest.unwrap_or(0).clamp(5, LAYER);
        let line = "-".repeat(width + 2 + 20 + 20 + 12 + 12 + 12);
        let row = |layer: &str, operation: &str, output: &str, numbers: [&str; 3]| {
            let [params, flops, memory] = numbers;
            format!("{layer:width$}  {operation:20}{output:20}{params:>12}{flops:>12}{memory:>12}")
        };
        writeln!(f, "{}", row("layer", "operation", "output", ["params", "FLOPs", "memory"]))?;
        writeln!(f, "{line}")?;
        for of in &self.rows {
            let params = if of.params == 0 { String::new() } else { grouped(of.params as u64) };
            let numbers = [&*params, &flops(of.flops), &memory(of.bytes)];
            let output = of.output.to_string();
            writeln!(f, "{}", row(&end(&of.layer, width), of.operation, &output, numbers))?;
        }
        let all = grouped(self.num_params as u64);
        let numbers = [&*all, &flops(self.flops()), &memory(self.bytes())];
        writeln!(f, "{line}\n{}", row("total", "", "", numbers))?;
        let (size, trained) = (memory(self.param_bytes), grouped(self.num_trainable as u64));
        write!(f, "{all} parameters ({size}), {trained} of them trained")
    }
}
