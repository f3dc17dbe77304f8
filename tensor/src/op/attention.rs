//! Scaled dot-product attention and its gradient.

use smallvec::{SmallVec, smallvec};

use super::{Arange, BinaryKind, Keeps, Meta, Metas, Operation, check};
use crate::{AnyTensor, DType, Result, Scalar, Shape};

/// `softmax(scale query key^T + bias) value` of every head (Vaswani et al. 2017).
///
/// Inputs: `query` `[n, heads, q, d]`, `key` `[n, groups, k, d]`, `value` `[n, groups, k, e]`, and
/// if there is one `bias`, which broadcasts to `[n, heads, q, k]` and hides a key where it is minus
/// infinity. Each key serves `heads / groups` neighbouring heads (Ainslie et al. 2023). Results:
/// `[n, heads, q, e]`, and the logarithm of the sum of the exponentials of each row of scores
/// `[n, heads, q]`, which backward needs. A query that sees no key gives zeros and minus infinity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// What the products of queries and keys are multiplied by.
    pub scale: f64,
    /// If set, query `i` sees keys `0..=i + offset` only.
    pub causal: Option<i64>,
    /// Scores become `softcap * tanh(score / softcap)` before bias and mask.
    pub softcap: Option<f64>,
    /// Whether there is a fourth input, the bias.
    pub bias: bool,
}

/// The extents of attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub n: usize,
    pub heads: usize,
    /// Heads of key and value.
    pub groups: usize,
    pub queries: usize,
    pub keys: usize,
    /// Length of a query and of a key.
    pub d: usize,
    /// Length of a value.
    pub e: usize,
}

impl Extents {
    /// Of query, key and value that fit each other.
    pub fn of([query, key, value]: [&Shape; 3]) -> Self {
        let ([n, heads, queries, d], [_, groups, keys, e]) = (query.dims(), value.dims());
        debug_assert_eq!(key[3], d);
        Self { n, heads, groups, queries, keys, d, e }
    }

    /// Heads of the query that share a key.
    pub fn each(&self) -> usize {
        self.heads / self.groups
    }
}

impl Attention {
    /// How many of the keys a query sees, from the first on.
    #[inline]
    pub(crate) fn visible(&self, query: usize, keys: usize) -> usize {
        match self.causal {
            Some(offset) => (query as i64 + offset + 1).clamp(0, keys as i64) as usize,
            None => keys,
        }
    }

    /// Pairs of a query and a key that it sees.
    fn pairs(&self, of: &Extents) -> u64 {
        let seen: usize = (0..of.queries).map(|query| self.visible(query, of.keys)).sum();
        (of.n * of.heads * seen) as u64
    }

    /// Checks query, key and value, and the bias against them.
    fn check(&self, op: &'static str, inputs: &[Meta], bias: Option<&Meta>) -> Result<Extents> {
        let [query, key, value] = [&inputs[0], &inputs[1], &inputs[2]];
        let axes = "[n, heads, q, d], [n, groups, k, d] and [n, groups, k, e] with heads a \
                    multiple of groups";
        let misfit = || check::shape_error(op, &inputs[..3], format!("expected {axes}"));
        if inputs[..3].iter().any(|x| x.shape.rank() != 4) {
            return Err(misfit());
        }
        let ([n, heads, queries, d], [kn, groups, keys, kd]) =
            (query.shape.dims(), key.shape.dims());
        let [vn, value_groups, values, e] = value.shape.dims();
        let fits = [n, groups, keys] == [vn, value_groups, values] && [n, d] == [kn, kd];
        if !fits || groups == 0 || heads % groups != 0 {
            return Err(misfit());
        }
        let scores = Shape::from([n, heads, queries, keys]);
        if let Some(bias) = bias
            && bias.shape.broadcast(&scores) != Some(scores)
        {
            let rule = format!("the mask or bias must broadcast to the scores, {scores:?}");
            return Err(check::shape_error(op, &[*query, *key, *value, *bias], rule));
        }
        if self.softcap.is_some_and(|cap| cap <= 0.0) {
            let rule = format!("softcap must be positive, got {:?}", self.softcap);
            return Err(check::argument(op, rule));
        }
        Ok(Extents { n, heads, groups, queries, keys, d, e })
    }

    /// The scores `[n, heads, q, k]`, minus infinity where a key is hidden, and with a softcap the
    /// hyperbolic tangents that they were made of. All inputs are of one dtype.
    fn scores(
        &self,
        query: &AnyTensor,
        key: &AnyTensor,
        bias: Option<&AnyTensor>,
    ) -> (AnyTensor, Option<AnyTensor>) {
        let ([n, heads, q, d], [_, groups, k, _]) = (query.shape().dims(), key.shape().dims());
        let query = query.mul_scalar(self.scale).reshape([n, groups, heads / groups, q, d]);
        let key = key.reshape([n, groups, 1, k, d]);
        let mut scores = query.matmul(&key.transpose()).reshape([n, heads, q, k]);
        let bent = self.softcap.map(|cap| scores.div_scalar(cap).tanh());
        if let (Some(bent), Some(cap)) = (&bent, self.softcap) {
            scores = bent.mul_scalar(cap);
        }
        if let Some(bias) = bias {
            scores = scores.add(bias);
        }
        if let Some(offset) = self.causal {
            let count = |start: i64, len: usize| {
                let (start, step) = (Scalar::Int(start), Scalar::Int(1));
                AnyTensor::create(Arange { start, step, len, dtype: DType::I64 }, scores.device())
            };
            let (last, index) = (count(offset, q).reshape([q, 1]), count(0, k).reshape([1, k]));
            scores = fill(&scores, &index.binary(BinaryKind::Greater, &last), f64::NEG_INFINITY);
        }
        (scores, bent)
    }

    /// The weights of the values `[n, heads, q, k]` and the logarithm of the sum of exponentials
    /// `[n, heads, q]`, both in the dtype of statistics.
    pub(crate) fn weights(&self, inputs: &[&AnyTensor]) -> (AnyTensor, AnyTensor) {
        let dtype = check::statistics_dtype(inputs[0].dtype());
        let [query, key] = [inputs[0].cast(dtype), inputs[1].cast(dtype)];
        let bias = self.bias.then(|| inputs[3].cast(dtype));
        let (scores, _) = self.scores(&query, &key, bias.as_ref());
        let [n, heads, q, k] = scores.shape().dims();
        if scores.num_elements() == 0 {
            let rows = Meta::new([n, heads, q], dtype);
            let none = if k == 0 { f64::NEG_INFINITY } else { 0.0 };
            return (scores.clone(), AnyTensor::full(rows, none, scores.device()));
        }
        let max = scores.detach().max_axis(3);
        let blind = max.equal_scalar(f64::NEG_INFINITY);
        let exp = fill(&scores, &blind, 0.0).sub(&fill(&max, &blind, 0.0)).exp();
        let sum = exp.sum_axis(3);
        let log_sum = fill(&sum.log().add(&max), &blind, f64::NEG_INFINITY);
        (fill(&exp.div(&sum), &blind, 0.0), log_sum.reshape([n, heads, q]))
    }

    /// The means of the values, `[n, heads, q, e]`, in the dtype of the value.
    pub(crate) fn mix(weights: &AnyTensor, value: &AnyTensor) -> AnyTensor {
        let ([n, heads, q, k], [_, groups, _, e]) = (weights.shape().dims(), value.shape().dims());
        let each = weights.reshape([n, groups, heads / groups, q, k]);
        let value = value.reshape([n, groups, 1, k, e]);
        let mixed = each.matmul(&value.cast(each.dtype()));
        mixed.reshape([n, heads, q, e]).cast(value.dtype())
    }
}

/// `value` where `mask` is true.
fn fill(x: &AnyTensor, mask: &AnyTensor, value: f64) -> AnyTensor {
    AnyTensor::full(Meta::new([], x.dtype()), value, x.device()).select_where(mask, x)
}

impl Operation for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, 3 + self.bias as usize)?;
        check::floats(op, inputs)?;
        let of = self.check(op, inputs, inputs.get(3))?;
        let (dtype, rows) = (inputs[0].dtype, [of.n, of.heads, of.queries]);
        let y = Meta::new([of.n, of.heads, of.queries, of.e], dtype);
        Ok(smallvec![y, Meta::new(rows, check::statistics_dtype(dtype))])
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: u32::MAX, outputs: 0b11 }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let of = Extents::of([0, 1, 2].map(|i| &inputs[i].shape));
        self.pairs(&of) * (2 * (of.d + of.e) + 12) as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let (weights, log_sum) = self.weights(inputs);
        Some(smallvec![Attention::mix(&weights, inputs[2]), log_sum])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        let plain = Attention { scale: 0.5, causal: None, softcap: None, bias: false };
        let causal = |offset| Attention { causal: Some(offset), ..plain };
        let inputs = |[n, heads, groups, q, k, d, e]: [usize; 7]| {
            [float([n, heads, q, d]), float([n, groups, k, d]), float([n, groups, k, e])]
        };
        samples.case(plain, inputs([1, 2, 2, 3, 4, 2, 3]));
        samples.case(causal(1), inputs([1, 2, 1, 2, 3, 3, 2]));
        samples.case(Attention { softcap: Some(1.5), ..causal(0) }, inputs([1, 1, 1, 2, 3, 2, 2]));
        let bias = |bias: [usize; 4], of| {
            let [q, k, v] = inputs(of);
            [q, k, v, float(bias)]
        };
        let biased = Attention { bias: true, softcap: Some(2.0), ..plain };
        samples.case(biased, bias([1, 2, 1, 3], [2, 2, 1, 2, 3, 2, 1]));
        for shape in [[0, 2, 1, 3, 4, 2, 3], [1, 2, 1, 0, 4, 2, 3], [1, 2, 2, 3, 4, 0, 2]] {
            samples.rough(plain, inputs(shape));
        }
        // The first queries see nothing; no key at all; no value.
        samples.rough(causal(-2), inputs([1, 2, 1, 4, 3, 2, 2]));
        samples.rough(plain, inputs([1, 2, 1, 3, 0, 2, 2]));
        samples.rough(plain, inputs([1, 2, 1, 3, 4, 2, 0]));
        // Several tiles of queries and of keys, with remainders.
        samples.rough(causal(7), inputs([1, 2, 1, 291, 298, 5, 3]));
        samples.rough(causal(-3), inputs([1, 1, 1, 67, 61, 19, 37]));
        samples.rough(plain, inputs([2, 1, 1, 17, 530, 33, 40]));
        samples.rough(
            Attention { bias: true, ..causal(0) },
            bias([1, 2, 70, 1], [1, 2, 1, 70, 65, 4, 5]),
        );
    }
}

/// The gradient of [`Attention`], of the inputs in `wants` only.
///
/// Inputs: query, key, value and the logarithm of the sum of exponentials `[n, heads, q]` of the
/// forward pass; `dy` `[n, heads, q, e]`; `delta` `[n, heads, q]`, which is `sum(y * dy)` over a
/// row, less the gradient of the logarithm; and the bias if there is one. Results: the gradients of
/// query, key and value in their shapes, and that of the bias as `[n, heads, q, k]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionBackward {
    /// The forward pass.
    pub attention: Attention,
    /// Whether the gradients of query, key, value and bias are computed.
    pub wants: [bool; 4],
}

impl Operation for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, 6 + self.attention.bias as usize)?;
        let [query, key, value, log_sum, dy, delta] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i]);
        check::floats(op, &[query, key, value, dy])?;
        check::floats(op, &[log_sum, delta])?;
        let of = self.attention.check(op, inputs, inputs.get(6))?;
        let rows = [of.n, of.heads, of.queries];
        if *log_sum.shape != rows
            || *delta.shape != rows
            || *dy.shape != [rows[0], rows[1], rows[2], of.e]
        {
            let rule = "statistics and gradient must have one entry per query";
            return Err(check::shape_error(op, inputs, rule));
        }
        let scores = Meta::new([of.n, of.heads, of.queries, of.keys], query.dtype);
        let all = [query, key, value, scores];
        let wanted: Metas = (0..4).filter(|&i| self.wants[i]).map(|i| all[i]).collect();
        if wanted.is_empty() || (self.wants[3] && !self.attention.bias) {
            return Err(check::argument(
                op,
                "at least one gradient, of an input that exists, is needed",
            ));
        }
        Ok(wanted)
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let of = Extents::of([0, 1, 2].map(|i| &inputs[i].shape));
        let [dq, dk, dv, dbias] = self.wants;
        let scores = of.d + if dq || dk || dbias { of.e } else { 0 };
        let results = dq as usize * of.d + dk as usize * of.d + dv as usize * of.e;
        self.attention.pairs(&of) * (2 * (scores + results) + 14) as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let (dtype, statistics) = (inputs[0].dtype(), check::statistics_dtype(inputs[0].dtype()));
        let wide: SmallVec<[AnyTensor; 7]> = inputs.iter().map(|x| x.cast(statistics)).collect();
        let [query, key, value, log_sum, dy, delta] = [0, 1, 2, 3, 4, 5].map(|i| &wide[i]);
        let of = Extents::of([query, key, value].map(AnyTensor::shape_ref));
        let Extents { n, heads, groups, queries: q, keys: k, d, e } = of;
        let each = of.each();
        let (scores, bent) = self.attention.scores(query, key, wide.get(6));
        let rows = |x: &AnyTensor| x.reshape([n, heads, q, 1]);
        // All scores of a query that sees nothing are minus infinity, and so stay its weights zero.
        let blind = log_sum.equal_scalar(f64::NEG_INFINITY);
        let weights = scores.sub(&rows(&fill(log_sum, &blind, 0.0))).exp();
        let split = |x: &AnyTensor, columns| x.reshape([n, groups, each, q, columns]);
        let shared = |x: &AnyTensor, columns| x.reshape([n, groups, 1, k, columns]);
        // Heads that share a key or value add up.
        let gather = |x: &AnyTensor, columns| x.sum_axis(2).reshape([n, groups, k, columns]);
        let dy = split(dy, e);
        let dweights = dy.matmul(&shared(value, e).transpose()).reshape([n, heads, q, k]);
        let dscores = weights.mul(&dweights.sub(&rows(delta)));
        let slope = bent.map(|bent| bent.square().neg().add_scalar(1.0));
        let dproducts = slope.map_or_else(|| dscores.clone(), |slope| dscores.mul(&slope));
        let dproducts = split(&dproducts.mul_scalar(self.attention.scale), k);
        let mut results: SmallVec<[AnyTensor; 4]> = SmallVec::new();
        if self.wants[0] {
            let dquery = dproducts.matmul(&shared(key, d));
            results.push(dquery.reshape([n, heads, q, d]));
        }
        if self.wants[1] {
            results.push(gather(&dproducts.transpose().matmul(&split(query, d)), d));
        }
        if self.wants[2] {
            results.push(gather(&split(&weights, k).transpose().matmul(&dy), e));
        }
        if self.wants[3] {
            results.push(dscores);
        }
        Some(results.into_iter().map(|x| x.cast(dtype)).collect())
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{Input, float, float_in};
        let plain = Attention { scale: 0.5, causal: None, softcap: None, bias: false };
        let causal = |offset| Attention { causal: Some(offset), ..plain };
        let all = |attention: Attention| AttentionBackward {
            attention,
            wants: [true, true, true, attention.bias],
        };
        let inputs = |[n, heads, groups, q, k, d, e]: [usize; 7]| -> Vec<Input> {
            let unit = |shape: [usize; 4]| float_in(shape, -1.0, 1.0);
            let qkv = [unit([n, heads, q, d]), unit([n, groups, k, d]), unit([n, groups, k, e])];
            let log_sum = float_in([n, heads, q], (k as f64 + 1.0).ln(), (k as f64 + 2.0).ln());
            let rest = [log_sum, unit([n, heads, q, e]), float([n, heads, q])];
            qkv.into_iter().chain(rest).collect()
        };
        samples.case(all(plain), inputs([1, 2, 2, 3, 2, 2, 1]));
        samples.case(
            all(Attention { softcap: Some(1.5), ..causal(1) }),
            inputs([1, 2, 1, 2, 3, 2, 2]),
        );
        let bias = |bias: [usize; 4], of| -> Vec<Input> {
            inputs(of).into_iter().chain([float_in(bias, -1.0, 1.0)]).collect()
        };
        let biased = Attention { bias: true, softcap: Some(2.0), ..plain };
        samples.case(all(biased), bias([1, 2, 1, 3], [1, 2, 1, 2, 3, 1, 2]));
        for wants in
            [[true, false, false, false], [false, true, false, false], [false, false, true, false]]
        {
            samples.rough(
                AttentionBackward { attention: causal(0), wants },
                inputs([1, 4, 2, 5, 7, 3, 2]),
            );
        }
        for shape in [
            [0, 2, 1, 3, 4, 2, 3],
            [1, 2, 1, 0, 4, 2, 3],
            [1, 2, 2, 3, 4, 0, 2],
            [1, 2, 1, 3, 0, 2, 2],
        ] {
            samples.rough(all(plain), inputs(shape));
        }
        samples.rough(all(causal(-2)), inputs([1, 2, 1, 4, 3, 2, 2]));
        samples.rough(all(causal(7)), inputs([1, 2, 1, 291, 298, 5, 3]));
        samples.rough(all(plain), inputs([2, 1, 1, 17, 530, 33, 40]));
        samples.rough(
            all(Attention { bias: true, ..causal(0) }),
            bias([1, 2, 70, 1], [1, 2, 1, 70, 65, 4, 5]),
        );
    }
}
