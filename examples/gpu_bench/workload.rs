//! What is measured, as data: both sides make a workload from what its row says.

use serde::{Deserialize, Serialize};

use crate::models::GptSize;

/// How numbers are stored, and rounded before they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    F32,
    /// f32, of which products take 10 bits of mantissa.
    Tf32,
    F16,
    Bf16,
}

use Precision::{Bf16, F16, F32, Tf32};

/// The two forms of GELU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gelu {
    Tanh,
    Erf,
}

/// A convolution of square pictures, without bias, padded to keep their size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvSize {
    /// Of the input and of the output.
    pub channels: [usize; 2],
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
}

/// One row of the table. `backward`: with the gradients of all inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Workload {
    /// The bandwidth of the device, in f32.
    Copy {
        elements: usize,
    },
    /// A sum so small that only starting it counts.
    Add {
        elements: usize,
    },
    /// The same, and a number of it read by the host.
    Item {
        elements: usize,
    },
    Matmul {
        precision: Precision,
        m: usize,
        k: usize,
        n: usize,
    },
    /// With bias and GELU, in bf16.
    Linear {
        gelu: Gelu,
        rows: usize,
        inputs: usize,
        outputs: usize,
        backward: bool,
    },
    /// `gelu(a b + c) d`. `fused`: in one pass, which in PyTorch comes with compilation.
    Chain {
        precision: Precision,
        elements: usize,
        fused: bool,
    },
    Softmax {
        precision: Precision,
        rows: usize,
        columns: usize,
    },
    LayerNorm {
        precision: Precision,
        rows: usize,
        columns: usize,
        backward: bool,
    },
    /// In f32.
    CrossEntropy {
        rows: usize,
        classes: usize,
        backward: bool,
    },
    /// Causal, in bf16.
    Attention {
        batch: usize,
        heads: usize,
        time: usize,
        width: usize,
        backward: bool,
    },
    /// In bf16.
    Conv {
        batch: usize,
        conv: ConvSize,
        backward: bool,
    },
    /// One update of all parameters of a GPT.
    Adamw {
        gpt: GptSize,
    },
    /// Training steps, with AdamW. The first two in f32, the others in bf16 by autocast. `graph`: as a
    /// CUDA graph, which in PyTorch comes with compilation.
    TrainMlp {
        batch: usize,
        sizes: Vec<usize>,
        graph: bool,
    },
    TrainCnn {
        batch: usize,
    },
    TrainGpt {
        batch: usize,
        gpt: GptSize,
        graph: bool,
    },
    TrainResnet {
        batch: usize,
        size: usize,
    },
}

/// What a side is asked to time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Copies of the inputs that are taken in turn, so that none of them is in a cache.
    pub sets: usize,
    #[serde(flatten)]
    pub workload: Workload,
}

/// Twice what the cache of an H200 holds.
const PAST_CACHE: usize = 128 << 20;

/// Sets at most: memory, and the time to fill it.
const MOST_SETS: usize = 256;

impl Precision {
    fn bytes(self) -> usize {
        if matches!(self, F16 | Bf16) { 2 } else { 4 }
    }

    fn name(self) -> &'static str {
        match self {
            F32 => "f32",
            Tf32 => "tf32",
            F16 => "f16",
            Bf16 => "bf16",
        }
    }
}

impl GptSize {
    /// Numbers in the parameters.
    pub fn params(&self) -> usize {
        let &Self { tokens, positions, width, blocks, .. } = self;
        width * (tokens + positions) + blocks * width * (12 * width + 13) + 2 * width
    }
}

impl Workload {
    /// The device's two limits, which come first.
    pub fn ceilings(small: bool) -> [Self; 2] {
        let pick = |full, tiny| if small { tiny } else { full };
        let n = pick(8192, 96);
        [
            Self::Copy { elements: pick(1 << 28, 1 << 12) },
            Self::Matmul { precision: Bf16, m: n, k: n, n },
        ]
    }

    /// All, in the order of the table: should time run out, the last ones are missing.
    pub fn all(small: bool) -> Vec<Self> {
        let pick = |full, tiny| if small { tiny } else { full };
        let gpt2 = GptSize { tokens: 50257, positions: 1024, width: 768, heads: 12, blocks: 12 };
        let tiny = GptSize { tokens: 50, positions: 16, width: 32, heads: 2, blocks: 2 };
        let gpt = if small { tiny } else { gpt2 };
        let tokens = pick(16 * 1024, 48); // of a batch
        let mut all = Vec::from(Self::ceilings(small));

        all.extend([Self::Add { elements: 4 }, Self::Item { elements: 4 }]);
        for graph in [false, true] {
            all.push(Self::TrainMlp { batch: 32, sizes: vec![64, 32, 10], graph });
        }
        all.push(Self::TrainCnn { batch: pick(64, 2) });
        for graph in [false, true] {
            all.push(Self::TrainGpt { batch: pick(16, 2), gpt, graph });
        }
        all.push(Self::TrainResnet { batch: pick(128, 2), size: pick(224, 32) });

        let outputs = pick(4096, 24);
        for (gelu, inputs) in [
            (Gelu::Tanh, pick(4096, 32)),
            (Gelu::Tanh, pick(1024, 16)),
            (Gelu::Erf, pick(1024, 16)),
        ] {
            for backward in [false, true] {
                let rows = pick(8192, 40);
                all.push(Self::Linear { gelu, rows, inputs, outputs, backward });
            }
        }
        for backward in [false, true] {
            let (batch, heads) = (pick(16, 2), pick(12, 2));
            let (time, width) = (pick(1024, 20), pick(64, 16));
            all.push(Self::Attention { batch, heads, time, width, backward });
        }
        for precision in [Bf16, F32] {
            for fused in [false, true] {
                all.push(Self::Chain { precision, elements: tokens * pick(3072, 24), fused });
            }
            let (rows, columns) = (pick(16 * 12 * 1024, 40), pick(1024, 33));
            all.push(Self::Softmax { precision, rows, columns });
            for backward in [false, true] {
                let columns = gpt.width;
                all.push(Self::LayerNorm { precision, rows: tokens, columns, backward });
            }
        }
        for backward in [false, true] {
            all.push(Self::CrossEntropy { rows: tokens, classes: gpt.tokens, backward });
        }
        all.push(Self::Adamw { gpt });

        for (channels, size, kernel, stride) in [
            ([3, 64], 224, 7, 2),
            ([256, 64], 56, 1, 1),
            ([64, 64], 56, 3, 1),
            ([128, 128], 28, 3, 1),
            ([256, 256], 14, 3, 1),
            ([512, 512], 7, 3, 1),
        ] {
            let channels = channels.map(|count: usize| pick(count, count.div_ceil(16)));
            let conv = ConvSize { channels, size: pick(size, size / 4 + 1), kernel, stride };
            for backward in [false, true] {
                all.push(Self::Conv { batch: pick(128, 2), conv, backward });
            }
        }
        let mut sizes = [512, 1024, 4096, 8192].map(|n| [pick(n, n / 85); 3]).to_vec();
        let odd = [[1023, 1025, 1027], [4095, 4097, 4099]];
        sizes.extend(if small { [[15, 17, 19], [31, 33, 35]] } else { odd });
        for precision in [Bf16, F16, Tf32, F32] {
            for &[m, k, n] in &sizes {
                let row = Self::Matmul { precision, m, k, n };
                if !all.contains(&row) {
                    all.push(row);
                }
            }
        }
        all
    }

    /// The name of the row, which no other one has.
    pub fn name(&self) -> String {
        let pass = |backward: &bool| if *backward { "_bwd" } else { "" };
        let way = |graph: &bool| if *graph { "_graph" } else { "" };
        match self {
            Self::Copy { .. } => "copy".into(),
            Self::Add { .. } => "add_4_latency".into(),
            Self::Item { .. } => "add_4_item_latency".into(),
            Self::Matmul { precision, m, k, n } if m == k && k == n => {
                format!("matmul_{}_{m}", precision.name())
            }
            Self::Matmul { precision, m, k, n } => {
                format!("matmul_{}_{m}x{k}x{n}", precision.name())
            }
            Self::Linear { gelu, rows, inputs, outputs, backward } => {
                let gelu = if *gelu == Gelu::Tanh { "" } else { "_erf" };
                format!("gelu{gelu}_{rows}x{inputs}x{outputs}{}", pass(backward))
            }
            Self::Chain { precision, fused, .. } => {
                let fused = if *fused { "_fused" } else { "" };
                format!("chain_gelu_muladd_{}{fused}", precision.name())
            }
            Self::Softmax { precision, rows, columns } => {
                format!("softmax_{}_{rows}x{columns}", precision.name())
            }
            Self::LayerNorm { precision, rows, columns, backward } => {
                format!("layernorm_{}_{rows}x{columns}{}", precision.name(), pass(backward))
            }
            Self::CrossEntropy { rows, classes, backward } => {
                format!("cross_entropy_{rows}x{classes}{}", pass(backward))
            }
            Self::Attention { batch, heads, time, width, backward } => {
                format!("sdpa_causal_{batch}x{heads}x{time}x{width}{}", pass(backward))
            }
            Self::Conv {
                conv: ConvSize { channels: [input, output], size, kernel, .. },
                backward,
                ..
            } => {
                format!("conv{kernel}x{kernel}_{input}_{output}_{size}{}", pass(backward))
            }
            Self::Adamw { .. } => "adamw_gpt2".into(),
            Self::TrainMlp { batch, graph, .. } => {
                format!("train_mlp_tiny_b{batch}{}", way(graph))
            }
            Self::TrainCnn { batch } => format!("train_cnn_mnist_b{batch}"),
            Self::TrainGpt { batch, gpt, graph } => {
                format!("train_gpt2_bf16_{batch}x{}{}", gpt.positions, way(graph))
            }
            Self::TrainResnet { batch, .. } => format!("train_resnet50_bf16_b{batch}"),
        }
    }

    /// Whether it is one kernel, of which a compiler can make nothing better.
    pub fn is_one_kernel(&self) -> bool {
        use Workload::*;
        let tiny = matches!(self, Copy { .. } | Add { .. } | Item { .. });
        tiny || matches!(self, Matmul { .. } | Attention { .. } | Conv { .. })
    }

    /// Bytes of the inputs that every call reads anew; none where the caches are part of the matter.
    fn input_bytes(&self) -> usize {
        match *self {
            Self::Copy { elements } => 4 * elements,
            Self::Matmul { precision, m, k, n } => precision.bytes() * (m * k + k * n),
            Self::Linear { rows, inputs, outputs, .. } => 2 * inputs * (rows + outputs),
            Self::Chain { precision, elements, .. } => precision.bytes() * 4 * elements,
            Self::Softmax { precision, rows, columns }
            | Self::LayerNorm { precision, rows, columns, .. } => {
                precision.bytes() * rows * columns
            }
            Self::CrossEntropy { rows, classes, .. } => 4 * rows * classes,
            Self::Attention { batch, heads, time, width, .. } => 6 * batch * heads * time * width,
            Self::Conv {
                batch,
                conv: ConvSize { channels: [input, output], size, kernel, .. },
                ..
            } => 2 * input * (batch * size * size + output * kernel * kernel),
            Self::Add { .. } | Self::Item { .. } | Self::Adamw { .. } => 0,
            Self::TrainMlp { .. } | Self::TrainCnn { .. } => 0,
            Self::TrainGpt { .. } | Self::TrainResnet { .. } => 0,
        }
    }

    /// Bytes that the device has to move at least, where that is what takes the time.
    pub fn least_bytes(&self) -> usize {
        match *self {
            Self::Copy { elements } => 8 * elements,
            Self::Chain { precision, elements, .. } => precision.bytes() * 5 * elements,
            Self::Softmax { precision, rows, columns } => precision.bytes() * 2 * rows * columns,
            // Backward reads the input, and the gradient of the result.
            Self::LayerNorm { precision, rows, columns, backward } => {
                let passes = if backward { 5 } else { 2 };
                precision.bytes() * passes * rows * columns
            }
            Self::CrossEntropy { rows, classes, backward } => {
                let passes = if backward { 3 } else { 1 };
                4 * passes * rows * classes
            }
            // Parameter and both averages are read and written, the gradient is read.
            Self::Adamw { ref gpt } => 4 * 7 * gpt.params(),
            _ => 0,
        }
    }

    /// What to ask a side for.
    pub fn request(&self, small: bool) -> Request {
        let bytes = self.input_bytes();
        let sets = match bytes {
            0 => 1,
            // Enough to show that they are taken in turn.
            _ if small => 2,
            _ => PAST_CACHE.div_ceil(bytes).min(MOST_SETS),
        };
        Request { sets, workload: self.clone() }
    }
}
