//! Kernels as text: a family is a file under `kernels/`, a program is one member of it, chosen by
//! definitions in front of the file.

use crate::compile::EXACT;

/// A file of kernels with the files that it builds on.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The name of the file, without its ending, or of what it is used for.
    pub name: &'static str,
    /// What comes before it, once for any number of programs.
    pub headers: &'static [&'static str],
    /// Its text.
    pub body: &'static str,
    /// Whether threads of a block wait for each other.
    pub has_barriers: bool,
    /// The first architecture that has all the instructions: major and minor.
    pub since: (u32, u32),
}

/// The text of a file under `kernels/`.
macro_rules! kernels {
    ($($part:literal)+) => {
        include_str!(concat!("../kernels/", $($part),+))
    };
}

const COMMON: &str = kernels!("common.cuh");
const MATH: &str = kernels!("math.cuh");

const SPECIAL: &str = kernels!("special.cuh");
const CAST: &str = kernels!("cast.cuh");
const RANDOM: &str = kernels!("random.cuh");
const BLOCK: &str = kernels!("block.cuh");
const INDEX: &str = kernels!("index.cuh");
const MMA: &str = kernels!("mma.cuh");
const MANY: &str = kernels!("many.cuh");
const DIVISOR: &str = kernels!("divisor.cuh");
const LAWS: &str = kernels!("laws.cuh");
const COMPLEX: &str = kernels!("complex.cuh");

/// The name of a family: that of its file, unless it has one of its own.
macro_rules! name {
    ($file:literal) => {
        $file
    };
    ($file:literal $own:literal) => {
        $own
    };
}

/// Declares families: their files and headers, whether threads of a block wait for each other, the
/// first architecture that they run on, and a file that comes before theirs in each program. Two
/// families of one file and other headers have two names.
macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $file:literal $(as $own:literal)?, [$($header:ident),*],
        $barriers:literal, $since:expr $(, $part:literal)?;)*) => {$(
        $(#[$doc])*
        pub static $name: Family = Family {
            name: name!($file $($own)?),
            headers: &[$($header),*],
            body: concat!($(kernels!($part), )? kernels!($file ".cu")),
            has_barriers: $barriers,
            since: $since,
        };
    )*};
}

families! {
    /// One output element for each input element.
    ELEMENTWISE = "elementwise", [EXACT, COMMON, MATH, SPECIAL, CAST, DIVISOR, RANDOM], false, (7, 5);
    /// The same for complex numbers.
    ELEMENTWISE_COMPLEX = "elementwise" as "elementwise_complex", [COMMON, MATH, COMPLEX, CAST], false, (7, 5);
    /// Chains of elementwise functions, with the bits that they give one by one.
    FUSED = "fused", [EXACT, COMMON, MATH, SPECIAL, CAST, DIVISOR], false, (7, 5);
    /// Random numbers whose law differs from element to element.
    SAMPLE = "elementwise" as "sample", [COMMON, MATH, CAST, RANDOM, LAWS], false, (7, 5);
    /// Indices drawn by weight.
    MULTINOMIAL = "multinomial", [COMMON, MATH, RANDOM], true, (7, 5);
    /// Passes of Fourier transforms.
    FFT = "fft", [COMMON, MATH, COMPLEX], false, (7, 5);
    /// Elements moved between strided places.
    COPY = "copy", [COMMON], false, (7, 5);
    /// Gradients of windows.
    UNFOLD_BACK = "unfold_back", [COMMON, MATH], false, (7, 5);
    /// Reductions.
    REDUCE = "reduce", [COMMON, MATH, BLOCK], true, (7, 5);
    /// Sums, means and products of complex numbers.
    REDUCE_COMPLEX = "reduce" as "reduce_complex", [COMMON, MATH, BLOCK, COMPLEX], true, (7, 5);
    /// Places of extrema.
    ARG_REDUCE = "arg_reduce", [COMMON], true, (7, 5);
    /// Elements picked by index.
    GATHER = "gather", [COMMON, INDEX], false, (7, 5);
    /// Elements put by index.
    SCATTER = "scatter", [COMMON, MATH, INDEX], false, (7, 5);
    /// Entries of equal index.
    CHAIN = "chain", [COMMON, INDEX], false, (7, 5);
    /// Sums over equal indices.
    CHAIN_SUM = "chain_sum", [COMMON, MATH], false, (7, 5);
    /// Positions from indices.
    RAVEL = "ravel", [COMMON, INDEX], false, (7, 5);
    /// Matrix products.
    MATMUL = "matmul", [COMMON, MATH], true, (7, 5);
    /// Matrix products of complex numbers.
    MATMUL_COMPLEX = "matmul" as "matmul_complex", [COMMON, MATH, COMPLEX], true, (7, 5);
    /// Matrix products of halves on tensor cores.
    MATMUL_MMA = "matmul_mma", [COMMON, MATH, MMA], true, (8, 0);
    /// Softmax and its gradient.
    SOFTMAX = "softmax", [COMMON, MATH, BLOCK], true, (7, 5);
    /// Normalisation of rows and the gradient of its input.
    LAYER_NORM = "layer_norm", [COMMON, MATH, BLOCK], true, (7, 5);
    /// Gradients of weight and bias of a normalisation of rows.
    LAYER_NORM_AFFINE = "layer_norm_affine", [COMMON, MATH], false, (7, 5);
    /// Batch normalisation and its gradient.
    BATCH_NORM = "batch_norm", [COMMON, MATH, BLOCK], true, (7, 5);
    /// Steps of recurrent layers.
    RECURRENT_CELL = "recurrent_cell", [COMMON, MATH], false, (7, 5);
    /// Gradients of steps of recurrent layers.
    RECURRENT_CELL_BACKWARD = "recurrent_cell_backward", [COMMON, MATH], false, (7, 5);
    /// Cross-entropy and its gradient.
    CROSS_ENTROPY = "cross_entropy", [COMMON, MATH, BLOCK, INDEX], true, (7, 5);
    /// Steps of optimizers.
    UPDATE = "update", [COMMON, MATH], false, (7, 5), "update.cuh";
    /// Steps of optimizers for many parameters.
    UPDATE_MANY = "update_many", [COMMON, MATH, MANY], false, (7, 5), "update.cuh";
    /// Sums of many tensors.
    TOTALS = "totals", [COMMON, MATH, BLOCK, MANY], true, (7, 5);
    /// Attention.
    ATTENTION = "attention", [COMMON, MATH, BLOCK], true, (7, 5), "attention.cuh";
    /// Gradients of attention by queries and bias.
    ATTENTION_QUERY = "attention_query", [COMMON, MATH, BLOCK], true, (7, 5), "attention.cuh";
    /// Gradients of attention by keys and values.
    ATTENTION_KEY = "attention_key", [COMMON, MATH, BLOCK], true, (7, 5), "attention.cuh";
    /// Convolution and its gradients.
    CONV = "conv", [COMMON, MATH, BLOCK], true, (7, 5);
    /// Pooling, and the gradient of the mean.
    POOL = "pool", [COMMON], false, (7, 5);
    /// The gradient of the largest of windows.
    MAX_POOL_BACK = "max_pool_back", [COMMON, INDEX], false, (7, 5);
    /// Running totals.
    SCAN = "scan", [COMMON, MATH, BLOCK], false, (7, 5);
    /// Order along an axis.
    SORT = "sort", [COMMON], false, (7, 5);
    /// Places of values in sorted rows.
    SEARCH_SORTED = "search_sorted", [COMMON], false, (7, 5);
    /// Where a tensor is not zero.
    NONZERO = "nonzero", [COMMON], true, (7, 5);
}

/// A kernel: one member of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file that it is made from.
    pub family: &'static Family,
    /// The name of the kernel; two programs of one name are the same.
    pub name: String,
    // In the order in which they are written.
    definitions: Vec<(&'static str, String)>,
}

impl Program {
    pub(crate) fn new(
        family: &'static Family,
        name: String,
        definitions: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        debug_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        Self { family, name, definitions: definitions.into_iter().collect() }
    }

    /// Whether threads of a block wait for each other: some kernels of a family may do without.
    pub fn has_barriers(&self) -> bool {
        let alone = self.definitions.iter().any(|(name, value)| *name == "GROUP" && value == "1");
        self.family.has_barriers && !alone
    }

    /// The source that the compiler gets.
    pub fn source(&self) -> String {
        let mut text = self.family.headers.join("\n");
        self.write(&mut text, "");
        text
    }

    /// The source of several programs of one family, with `after` behind each, in which `NAME` is
    /// its name and `Params` its parameters.
    pub fn source_of(programs: &[Program], after: &str) -> String {
        let Some(first) = programs.first() else { return String::new() };
        let mut text = first.family.headers.join("\n");
        for program in programs {
            debug_assert_eq!(program.family, first.family);
            program.write(&mut text, after);
        }
        text
    }

    /// The text of this program alone, in a namespace of its own.
    fn write(&self, text: &mut String, after: &str) {
        let name = ("NAME", self.name.clone());
        let definitions = || std::iter::once(&name).chain(&self.definitions);
        for (name, value) in definitions() {
            *text += &format!("#define {name} {value}\n");
        }
        *text += &format!("namespace of_{} {{\n{}\n{after}\n}}\n", self.name, self.family.body);
        for (name, _) in definitions() {
            *text += &format!("#undef {}\n", name.split('(').next().unwrap_or(name));
        }
    }
}
