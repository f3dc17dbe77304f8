//! Keys and values of the tokens so far.

use kiln_tensor::{Error, Tensor, fail, s};

/// The keys and values that an attention layer has computed, so that generating a token needs only
/// what is new (Pope et al. 2022). As a `Vec` does, it doubles its memory where that is full;
/// [`KvCache::with_capacity`] makes it once.
///
/// ```
/// use kiln_nn::KvCache;
/// use kiln_tensor::{Device, Tensor};
/// let mut cache = KvCache::with_capacity(8);
/// let token = Tensor::<4>::ones([1, 2, 1, 4], &Device::cpu());
/// cache.append(&token, &token);
/// let (keys, _values) = cache.append(&token, &token);
/// assert_eq!(keys.dims(), [1, 2, 2, 4]);
/// cache.crop(1);
/// assert_eq!(cache.len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    /// `[n, heads, capacity, d]` each, once there is a token.
    memory: Option<(Tensor<4>, Tensor<4>)>,
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// Without tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for this many tokens, which is taken at the first one.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds tokens, `[n, heads, t, d]`, and returns all keys and values, `[n, heads, len, d]`.
    /// Panics if batch, heads or features are not those of the tokens before.
    #[track_caller]
    pub fn append(&mut self, key: &Tensor<4>, value: &Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let end = self.len + key.dims()[2];
        self.reserve(end, key, value);
        let (keys, values) = self.memory.as_mut().expect("memory was reserved");
        // In place: the views that were handed out before are gone in a loop that generates.
        keys.slice_assign_inplace(s![.., .., self.len..end, ..], key);
        values.slice_assign_inplace(s![.., .., self.len..end, ..], value);
        self.len = end;
        self.get().expect("it holds tokens")
    }

    /// All keys and values, `[n, heads, len, d]`.
    pub fn get(&self) -> Option<(Tensor<4>, Tensor<4>)> {
        let part = |x: &Tensor<4>| x.narrow(2, 0, self.len);
        self.memory.as_ref().map(|(keys, values)| (part(keys), part(values)))
    }

    /// Keeps the first `len` tokens; keeps all if there are fewer.
    pub fn crop(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets all tokens and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Makes room for `end` tokens like `key` and `value`.
    #[track_caller]
    fn reserve(&mut self, end: usize, key: &Tensor<4>, value: &Tensor<4>) {
        if let Some((keys, values)) = &self.memory {
            let fits = like(keys, key) && like(values, value);
            if !fits && self.len > 0 {
                let shapes = vec![keys.shape(), values.shape(), key.shape(), value.shape()];
                let rule = "batch, heads, features and dtype must be those of the cached tokens";
                fail(Error::Shape { op: "kv_cache", shapes, rule: rule.into() });
            }
            if fits && end <= self.capacity {
                return;
            }
        }
        if end > self.capacity {
            self.capacity = end.max(2 * self.capacity);
        }
        let (keys, values) = self.memory.take().unzip();
        self.memory = Some((self.enlarge(keys, key), self.enlarge(values, value)));
    }

    /// Memory for tokens like `x`, with those of `old`.
    fn enlarge(&self, old: Option<Tensor<4>>, x: &Tensor<4>) -> Tensor<4> {
        let [n, heads, _, d] = x.dims();
        let mut new = Tensor::empty([n, heads, self.capacity, d], (&x.device(), x.dtype()));
        if let Some(old) = old.filter(|_| self.len > 0) {
            new.slice_assign_inplace(s![.., .., 0..self.len, ..], old.narrow(2, 0, self.len));
        }
        new
    }
}

/// Whether two tensors differ in the number of tokens at most.
fn like(a: &Tensor<4>, b: &Tensor<4>) -> bool {
    let ([n, heads, _, d], [m, groups, _, e]) = (a.dims(), b.dims());
    [n, heads, d] == [m, groups, e] && a.dtype() == b.dtype()
}
