//! Python's pickle format, as far as it describes data.
//!
//! A pickle is a program for a small stack machine. Python's machine can call any function; this one
//! knows the instructions that build lists, dictionaries, texts and numbers, and, of functions, those
//! in [`Global`], which describe tensors. They build plain values here, and nothing is run. Anything
//! else is an error that names it. (The format: Python's `Lib/pickletools.py`.)

use std::collections::HashMap;

use super::rebuild::{Global, Storage, TensorRef};

/// The most objects (texts, lists, ..) of one pickle: that many tensors fill any memory.
const MAX_OBJECTS: usize = 1 << 22;
/// The most values that are on the stack at once; Python writes collections by the thousand.
const MAX_STACK: usize = 1 << 20;

/// A value: a small one itself, or the place of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Item {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Object(u32),
    /// Something that describes no tensor and is no plain value, as a device.
    Opaque,
}

/// What is larger than an [`Item`]. Texts are where they are in the pickle.
#[derive(Clone, Debug)]
pub(super) enum Object<'a> {
    Text(&'a str),
    /// A list or a set.
    List(Vec<Item>),
    Tuple(Vec<Item>),
    Dict(Vec<(Item, Item)>),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(Box<TensorRef<'a>>),
}

/// What a pickle describes.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: Item,
    objects: Vec<Object<'a>>,
}

impl<'a> Pickle<'a> {
    /// The object of an item, if it has one.
    pub(super) fn object(&self, item: Item) -> Option<&Object<'a>> {
        match item {
            Item::Object(at) => Some(&self.objects[at as usize]),
            _ => None,
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, String>;

/// Whether these bytes are a pickle of data, for fuzzing.
pub fn parse_any(bytes: &[u8]) -> bool {
    parse(bytes).is_ok()
}

/// What a pickle describes; an error says why it is none of data.
pub(super) fn parse(bytes: &[u8]) -> Result<Pickle<'_>> {
    let mut machine = Machine {
        rest: bytes,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        made: Pickle { root: Item::None, objects: Vec::new() },
    };
    loop {
        if let Some(root) = machine.step()? {
            return Ok(Pickle { root, ..machine.made });
        }
    }
}

/// The stack machine that a pickle is a program for.
pub(super) struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Item>,
    /// How long the stack was at each mark that is open; what is below the last one can not be
    /// reached.
    marks: Vec<usize>,
    memo: HashMap<u32, Item>,
    made: Pickle<'a>,
}

impl<'a> Machine<'a> {
    /// Runs one instruction; the last one gives the result.
    fn step(&mut self) -> Result<Option<Item>> {
        let [code] = self.take()?;
        match code {
            // Begin, frame, end.
            0x80 => {
                let [version] = self.take()?;
                if version > 5 {
                    return Err(format!("version {version} of pickles is not known"));
                }
            }
            0x95 => drop(self.take::<8>()?),
            b'.' => return self.pop().map(Some),

            // Values.
            b'N' => self.push(Item::None)?,
            0x88 => self.push(Item::Bool(true))?,
            0x89 => self.push(Item::Bool(false))?,
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.push(Item::Int(value.into()))?;
            }
            b'K' => {
                let [value] = self.take()?;
                self.push(Item::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.push(Item::Int(value.into()))?;
            }
            0x8a => {
                let [len] = self.take()?;
                let bytes = self.bytes(len.into())?;
                self.push(long(bytes))?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.take()?);
                self.push(Item::Float(value))?;
            }

            // Texts and bytes, which have their length before them.
            0x8c | b'U' | b'C' => {
                let [len] = self.take()?;
                self.text(len.into(), code != b'C')?;
            }
            b'X' | b'T' | b'B' => {
                let len = u32::from_le_bytes(self.take()?);
                self.text(len.into(), code != b'B')?;
            }
            0x8d | 0x8e | 0x96 => {
                let len = u64::from_le_bytes(self.take()?);
                self.text(len, code == 0x8d)?;
            }

            // Collections.
            b'(' => {
                if self.marks.len() >= MAX_STACK {
                    return Err("it is nested too deep".into());
                }
                self.marks.push(self.stack.len());
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b']' | 0x8f => self.push_object(Object::List(Vec::new()))?,
            b'}' => self.push_object(Object::Dict(Vec::new()))?,
            b')' => self.push_object(Object::Tuple(Vec::new()))?,
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(code - 0x84))?;
                self.push_object(Object::Tuple(items))?;
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push_object(Object::Tuple(items))?;
            }
            b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push_object(Object::List(items))?;
            }
            b'd' => {
                let items = pairs(&self.pop_mark()?)?;
                self.push_object(Object::Dict(items))?;
            }
            b'a' => {
                let items = self.pop_many(1)?;
                self.append(&items)?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set(&items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set(&items)?;
            }

            // Names for values that come again.
            b'q' => {
                let [at] = self.take()?;
                self.memo.insert(at.into(), self.top()?);
            }
            b'r' => {
                let at = u32::from_le_bytes(self.take()?);
                self.memo.insert(at, self.top()?);
            }
            0x94 => {
                let at = self.memo.len() as u32;
                self.memo.insert(at, self.top()?);
            }
            b'h' => {
                let [at] = self.take()?;
                self.recall(at.into())?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.take()?);
                self.recall(at)?;
            }

            // What Python would run.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_global(module, name)?;
            }
            0x93 => {
                let items = self.pop_many(2)?;
                let (module, name) = (self.text_of(items[0])?, self.text_of(items[1])?);
                self.push_global(module, name)?;
            }
            b'R' => {
                let items = self.pop_many(2)?;
                self.call(items[0], items[1])?;
            }
            b'b' => {
                // The attributes of a dictionary or a tensor, as the versions of modules. Kiln needs
                // none of them.
                self.pop()?;
                let target = self.top()?;
                let known =
                    matches!(self.object(target), Some(Object::Dict(_) | Object::Tensor(_)));
                if !known && target != Item::Opaque {
                    return Err("it sets attributes of something that has none".into());
                }
            }
            b'Q' => {
                let items = self.pop_many(1)?;
                let storage = self.storage(items[0])?;
                self.push_object(Object::Storage(storage))?;
            }
            _ => {
                let what = "is none that builds data; nothing of it was run";
                return Err(format!("the pickle instruction {code:#04x} {what}"));
            }
        }
        Ok(None)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk().ok_or("the pickle is truncated")?;
        self.rest = rest;
        Ok(*first)
    }

    fn bytes(&mut self, len: u64) -> Result<&'a [u8]> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (first, rest) = self.rest.split_at_checked(len).ok_or("the pickle is truncated")?;
        self.rest = rest;
        Ok(first)
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let line = self.bytes(end.ok_or("the pickle is truncated")? as u64)?;
        self.take::<1>()?;
        std::str::from_utf8(line).map_err(|_| "a name is not UTF-8".into())
    }

    fn text(&mut self, len: u64, is_text: bool) -> Result<()> {
        let bytes = self.bytes(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if is_text => self.push_object(Object::Text(text)),
            _ => self.push(Item::Opaque),
        }
    }

    pub(super) fn push(&mut self, item: Item) -> Result<()> {
        if self.stack.len() >= MAX_STACK {
            return Err(format!("it has collections of more than {MAX_STACK} values"));
        }
        self.stack.push(item);
        Ok(())
    }

    pub(super) fn push_object(&mut self, object: Object<'a>) -> Result<()> {
        if self.made.objects.len() >= MAX_OBJECTS {
            return Err(format!("it has more than {MAX_OBJECTS} objects"));
        }
        self.made.objects.push(object);
        self.push(Item::Object(self.made.objects.len() as u32 - 1))
    }

    /// The length of the stack below which nothing can be reached.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Item> {
        let item = self.top()?;
        self.stack.pop();
        Ok(item)
    }

    fn top(&self) -> Result<Item> {
        let reachable = &self.stack[self.floor()..];
        reachable.last().copied().ok_or_else(|| "it takes values that are not there".into())
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Item>> {
        let from = self.stack.len().checked_sub(count).filter(|&from| from >= self.floor());
        Ok(self.stack.split_off(from.ok_or("it takes values that are not there")?))
    }

    fn pop_mark(&mut self) -> Result<Vec<Item>> {
        let from = self.marks.pop().ok_or("it ends a collection that has no begin")?;
        Ok(self.stack.split_off(from))
    }

    fn recall(&mut self, at: u32) -> Result<()> {
        let item = self.memo.get(&at).ok_or("it refers to a value that is not there")?;
        self.push(*item)
    }

    pub(super) fn object(&self, item: Item) -> Option<&Object<'a>> {
        self.made.object(item)
    }

    fn top_object(&mut self) -> Result<Option<&mut Object<'a>>> {
        Ok(match self.top()? {
            Item::Object(at) => Some(&mut self.made.objects[at as usize]),
            _ => None,
        })
    }

    fn append(&mut self, items: &[Item]) -> Result<()> {
        match self.top_object()? {
            Some(Object::List(list)) => list.extend(items),
            _ => return Err("it appends to something that is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Item]) -> Result<()> {
        match self.top_object()? {
            Some(Object::Dict(dict)) => dict.extend(pairs(items)?),
            _ => return Err("it sets entries of something that is no dictionary".into()),
        }
        Ok(())
    }

    pub(super) fn text_of(&self, item: Item) -> Result<&'a str> {
        match self.object(item) {
            Some(Object::Text(text)) => Ok(text),
            _ => Err("a text is needed where there is none".into()),
        }
    }

    pub(super) fn tuple_of(&self, item: Item) -> Result<&[Item]> {
        match self.object(item) {
            Some(Object::Tuple(items)) => Ok(items),
            _ => Err("a tuple is needed where there is none".into()),
        }
    }

    pub(super) fn global_of(&self, item: Item) -> Result<Global> {
        match self.object(item) {
            Some(Object::Global(global)) => Ok(*global),
            _ => Err("it calls something that is no function".into()),
        }
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<()> {
        let Some(global) = Global::find(module, name) else {
            // The text is from outside: only a bit of it, and nothing that a terminal would obey.
            let name: String = format!("{module}.{name}").escape_debug().take(100).collect();
            return Err(format!(
                "it holds `{name}`, which is no part of tensors, dictionaries and plain values, \
                 and so is refused; nothing was run. Save a `state_dict()` in Python instead of \
                 whole objects, or convert the file to safetensors there"
            ));
        };
        self.push_object(Object::Global(global))
    }
}

/// A number of any length in little-endian two's complement.
fn long(bytes: &[u8]) -> Item {
    if bytes.len() > 8 {
        return Item::Opaque;
    }
    let negative = bytes.last().is_some_and(|&last| last >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Item::Int(i64::from_le_bytes(wide))
}

fn pairs(items: &[Item]) -> Result<Vec<(Item, Item)>> {
    if !items.len().is_multiple_of(2) {
        return Err("an entry of a dictionary has no value".into());
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
