//! From sentences to vectors: a folder of Hugging Face's, its tokenizer and its model.

use std::path::Path;

use kiln::prelude::*;
use kiln::{Error, Result};
use tokenizers::{PaddingParams, PaddingStrategy, Tokenizer, TruncationParams};

use crate::bert::{Bert, BertConfig};

/// Sentences of one forward pass.
const BATCH: usize = 32;

/// A tokenizer and its model.
pub struct Embedder {
    tokenizer: Tokenizer,
    bert: Bert,
    device: Device,
    dimension: usize,
}

impl Embedder {
    /// Reads `config.json`, `tokenizer.json` and `model.safetensors` of a folder.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let path = |name: &str| folder.join(name);
        let error =
            |name: &str, what: String| Error::File { path: path(name).display().to_string(), what };
        let text = std::fs::read_to_string(path("config.json"))
            .map_err(|cause| error("config.json", cause.to_string()))?;
        let config: BertConfig = serde_json::from_str(&text)
            .map_err(|cause| error("config.json", format!("is no BERT: {cause}")))?;
        let weights = weights(&StateDict::load(path("model.safetensors"))?);
        config.check(&weights)?;
        let mut bert = Bert::new(&config, device);
        let report = bert.load_state_dict(&weights);
        if !report.is_complete() {
            return Err(error("model.safetensors", format!("does not fit the model: {report}")));
        }
        bert.set_trainable(false);
        let tokenizer = tokenizer(&path("tokenizer.json"), config.max_position_embeddings)
            .map_err(|cause| error("tokenizer.json", cause.to_string()))?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if largest >= config.vocab_size {
            let what = format!("has a token {largest}, the model only {}", config.vocab_size);
            return Err(error("tokenizer.json", what));
        }
        Ok(Self { tokenizer, bert, device: *device, dimension: config.hidden_size })
    }

    /// A vector of length 1 for each sentence, `[n, d]`.
    pub fn embed(&self, sentences: &[String]) -> Result<Tensor<2>> {
        if sentences.is_empty() {
            return Ok(Tensor::zeros([0, self.dimension], &self.device));
        }
        // Sentences of like length share a batch, which then needs little padding.
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        order.sort_by_key(|&i| sentences[i].len());
        let batches = order.chunks(BATCH).map(|batch| {
            let batch: Vec<&str> = batch.iter().map(|&i| sentences[i].as_str()).collect();
            self.embed_batch(batch)
        });
        let vectors = Tensor::cat(batches.collect::<Result<Vec<_>>>()?, 0);
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &i)| places[i] = place);
        Ok(kiln::data::take(&vectors, &places))
    }

    fn embed_batch(&self, sentences: Vec<&str>) -> Result<Tensor<2>> {
        let n = sentences.len();
        let encodings = self
            .tokenizer
            .encode_batch_fast(sentences, true)
            .map_err(|cause| Error::Argument { op: "tokenizer", rule: cause.to_string() })?;
        let t = encodings[0].len(); // the same of all, by padding
        let tokens = encodings.iter().flat_map(|encoding| encoding.get_ids());
        let tokens: Vec<i64> = tokens.map(|&id| id as i64).collect();
        let seen = encodings.iter().flat_map(|encoding| encoding.get_attention_mask());
        let padding: Vec<bool> = seen.map(|&seen| seen == 0).collect();
        let tokens = Tensor::from_data(TensorData::new(tokens, [n, t]), &self.device);
        let padding = Tensor::from_data(TensorData::new(padding, [n, t]), &self.device);
        Ok(no_grad(|| self.bert.embed(&tokens, &padding)))
    }
}

/// The entries of a file that belong to [`Bert`]: files of models with a head have them under
/// `bert.`, and many hold a pooler, which the mean makes no use of.
fn weights(file: &StateDict) -> StateDict {
    let mut weights = StateDict::default();
    for (name, data) in file.iter() {
        let name = name.strip_prefix("bert.").unwrap_or(name);
        let part = name.starts_with("embeddings.") || name.starts_with("encoder.");
        if part && name != "embeddings.position_ids" {
            weights.insert(name, data.clone());
        }
    }
    weights
}

/// A tokenizer that pads to the longest sentence of a batch and cuts what the model can not take.
fn tokenizer(path: &Path, max_length: usize) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_file(path)?;
    let file = tokenizer.get_padding().cloned().unwrap_or_default();
    let strategy = PaddingStrategy::BatchLongest;
    tokenizer.with_padding(Some(PaddingParams { strategy, ..file }));
    let truncation = TruncationParams { max_length, ..Default::default() };
    tokenizer.with_truncation(Some(truncation))?;
    Ok(tokenizer)
}
