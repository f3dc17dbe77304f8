//! Vectors looked up by index and reduced bag by bag.

use kiln_tensor::{Device, Error, Int, Tensor, TensorData, module};

use super::embedding::{shorten, table};
use crate::{Config, Initializer, Module, Param};

/// How an [`EmbeddingBag`] reduces the vectors of a bag.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingBagMode {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest of each of their elements.
    Max,
}

/// What an [`EmbeddingBag`] is made of.
#[derive(Config, Debug)]
pub struct EmbeddingBagConfig {
    /// The number of vectors.
    pub n_embedding: usize,
    /// The extent of a vector.
    pub d_model: usize,
    /// How the vectors of a bag are reduced.
    #[config(default = EmbeddingBagMode::Mean)]
    pub mode: EmbeddingBagMode,
    /// An index that counts as not there; its vector starts as zeros.
    #[config(default = None, into)]
    pub padding_idx: Option<usize>,
    /// Vectors that are longer count as scaled down to this norm.
    #[config(default = None, into)]
    pub max_norm: Option<f64>,
    /// The exponent of that norm.
    #[config(default = 2.0)]
    pub norm_type: f64,
    /// Other first values than the standard normal distribution.
    #[config(default = Initializer::Normal { mean: 0.0, std: 1.0 })]
    pub initializer: Initializer,
}

impl EmbeddingBagConfig {
    /// Makes the layer. Panics if `padding_idx` is out of range.
    #[track_caller]
    pub fn init(&self, device: &Device) -> EmbeddingBag {
        let Self { n_embedding, d_model, padding_idx, .. } = *self;
        EmbeddingBag {
            weight: table(n_embedding, d_model, padding_idx, &self.initializer, device),
            mode: self.mode,
            padding_idx,
            max_norm: self.max_norm,
            norm_type: self.norm_type,
        }
    }
}

/// `torch.nn.EmbeddingBag`: the sum, mean or maximum of the vectors of each bag of indices, zeros
/// for an empty one.
///
/// ```
/// use kiln_nn::EmbeddingBagConfig;
/// use kiln_tensor::{Device, Int, Tensor};
/// let layer = EmbeddingBagConfig::new(10, 4).init(&Device::cpu());
/// let tokens = Tensor::<1, Int>::from([1i64, 2, 3, 3, 0]);
/// let starts = Tensor::<1, Int>::from([0i64, 2, 2]);
/// assert_eq!(layer.forward_offsets(&tokens, &starts, None).dims(), [3, 4]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct EmbeddingBag {
    /// `[n, d]`
    pub weight: Param<Tensor<2>>,
    /// How the vectors of a bag are reduced.
    #[module(skip)]
    pub mode: EmbeddingBagMode,
    /// An index that counts as not there.
    pub padding_idx: Option<usize>,
    /// Vectors that are longer count as scaled down to this norm, as in
    /// [`Embedding`](crate::Embedding).
    #[module(skip)]
    pub max_norm: Option<f64>,
    /// The exponent of that norm.
    pub norm_type: f64,
}

impl EmbeddingBag {
    /// Bags of one size: `indices` `[bags, n]` to `[bags, d]`. `weights` of the shape of `indices`
    /// multiply the vectors. Panics if an index is out of range, or with weights and another mode
    /// than the sum.
    #[track_caller]
    pub fn forward(&self, indices: &Tensor<2, Int>, weights: Option<&Tensor<2>>) -> Tensor<2> {
        let [bags, n] = indices.dims();
        let starts: Vec<usize> = (0..bags).map(|bag| bag * n).collect();
        let weights = weights.map(|weights| weights.reshape([weights.num_elements()]));
        self.reduce(&indices.reshape([bags * n]), &starts, weights.as_ref())
    }

    /// Bags of any size, one behind the other in `indices` `[total]`: bag `i` starts at
    /// `offsets[i]`, and ends where the next one starts. To `[bags, d]`. `weights` `[total]`
    /// multiply the vectors. Panics if an index is out of range, the offsets do not start at 0 or
    /// fall, or with weights and another mode than the sum.
    #[track_caller]
    pub fn forward_offsets(
        &self,
        indices: &Tensor<1, Int>,
        offsets: &Tensor<1, Int>,
        weights: Option<&Tensor<1>>,
    ) -> Tensor<2> {
        let starts = offsets.to_vec_as::<i64>();
        let total = indices.num_elements();
        let sound = starts.first().is_none_or(|&first| first == 0)
            && starts.is_sorted()
            && starts.last().is_none_or(|&last| last <= total as i64);
        if !sound || (starts.is_empty() && total > 0) {
            let rule = format!("offsets must rise from 0 to at most {total}, found {starts:?}");
            kiln_tensor::fail(Error::Argument { op: "embedding_bag", rule });
        }
        let starts: Vec<usize> = starts.iter().map(|&start| start as usize).collect();
        self.reduce(indices, &starts, weights)
    }

    #[track_caller]
    fn reduce(
        &self,
        indices: &Tensor<1, Int>,
        starts: &[usize],
        weights: Option<&Tensor<1>>,
    ) -> Tensor<2> {
        let total = indices.num_elements();
        if let Some(weights) = weights {
            if weights.num_elements() != total {
                let shapes = vec![indices.shape(), weights.shape()];
                let rule = "a weight for each index is needed".into();
                kiln_tensor::fail(Error::Shape { op: "embedding_bag", shapes, rule });
            }
            if self.mode != EmbeddingBagMode::Sum {
                let rule = format!("weights need the mode Sum, found {:?}", self.mode);
                kiln_tensor::fail(Error::Argument { op: "embedding_bag", rule });
            }
        }
        // The bag of each index, and the indices that count.
        let ends = starts.iter().skip(1).copied().chain([total]);
        let bags = starts.iter().zip(ends).enumerate();
        let bags: Vec<i64> =
            bags.flat_map(|(bag, (&start, end))| (start..end).map(move |_| bag as i64)).collect();
        let counted: Option<Vec<i64>> = self.padding_idx.map(|padding| {
            let all = indices.to_vec_as::<i64>();
            (0..total as i64).filter(|&i| all[i as usize] != padding as i64).collect()
        });
        let device = indices.device();
        let ints = |values: Vec<i64>| {
            let data = TensorData::new(values.clone(), [values.len()]);
            Tensor::<1, Int>::from_data(data, &device)
        };
        let (indices, weights, bags) = match counted {
            None => (indices.clone(), weights.cloned(), bags),
            Some(counted) => {
                let bags = counted.iter().map(|&i| bags[i as usize]).collect();
                let counted = ints(counted);
                let weights = weights.map(|weights| weights.select(0, &counted));
                (indices.select(0, &counted), weights, bags)
            }
        };
        let rows = module::embedding_any(self.weight.as_any(), indices.as_any());
        let mut rows = Tensor::<2>::from_any(shorten(&rows, self.max_norm, self.norm_type));
        if let Some(weights) = weights {
            rows *= weights.reshape([bags.len(), 1]);
        }
        let d = self.weight.dims()[1];
        let zeros = Tensor::<2>::zeros([starts.len(), d], (&device, rows.dtype()));
        if bags.is_empty() {
            // Still a function of the table, whose gradient is zero.
            return zeros + rows.sum_dim(0);
        }
        match self.mode {
            EmbeddingBagMode::Sum => zeros.index_add(0, ints(bags), rows),
            EmbeddingBagMode::Mean => {
                let mut counts = vec![0f64; starts.len()];
                bags.iter().for_each(|&bag| counts[bag as usize] += 1.0);
                counts.iter_mut().for_each(|count| *count = count.max(1.0));
                let counts = TensorData::new(counts, [starts.len(), 1]);
                let counts = Tensor::<2>::from_data(counts, (&device, rows.dtype()));
                zeros.index_add(0, ints(bags), rows) / counts
            }
            EmbeddingBagMode::Max => {
                let mut maxima = Vec::with_capacity(starts.len());
                let mut from = 0;
                for bag in 0..starts.len() as i64 {
                    let len = bags[from..].iter().take_while(|&&other| other == bag).count();
                    maxima.push(if len == 0 {
                        zeros.narrow(0, 0, 1)
                    } else {
                        // The first of equal elements has the gradient, as in PyTorch.
                        let bag = rows.narrow(0, from, len);
                        bag.gather(0, bag.argmax(0))
                    });
                    from += len;
                }
                Tensor::cat(maxima, 0)
            }
        }
    }
}
