//! The gradient of attention.

use kiln_tensor::AnyTensor;
use kiln_tensor::op::{Attention, AttentionBackward};
use smallvec::SmallVec;

use super::{Context, Results};

/// From the gradients of the result and of the logarithm of the sum of exponentials.
pub(super) fn attention(
    op: &Attention,
    cx: &mut Context<'_>,
    outputs: &[Option<AnyTensor>],
) -> Results {
    let count = cx.step.parents.len();
    let wants = std::array::from_fn(|i| i < count && cx.wants(i));
    if wants == [false; 4] || outputs.iter().all(Option::is_none) {
        return (0..count).map(|_| None).collect();
    }
    let inputs: SmallVec<[AnyTensor; 4]> = (0..count).map(|i| cx.input(i)).collect();
    let (y, log_sum) = (cx.output(0), cx.output(1));
    let [n, heads, q, _] = y.shape().dims();
    let dy = outputs[0].clone().unwrap_or_else(|| y.zeros_like());
    let wide = log_sum.dtype();
    let mut delta = y.cast(wide).mul(&dy.cast(wide)).sum_axis(3).reshape([n, heads, q]);
    if let Some(dlog_sum) = &outputs[1] {
        delta = delta.sub(dlog_sum);
    }
    let mut rest: SmallVec<[&AnyTensor; 6]> = inputs[1..3].iter().collect();
    rest.extend([&log_sum, &dy, &delta]);
    rest.extend(inputs.get(3));
    let found = inputs[0].apply_all(AttentionBackward { attention: *op, wants }, &rest);
    let mut found = found.into_iter();
    (0..count)
        .map(|i| {
            // The bias may have been broadcast.
            wants[i].then(|| found.next().expect("one for each wanted").sum_to(cx.shape(i)))
        })
        .collect()
}
