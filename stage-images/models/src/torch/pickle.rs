//! A reader for the few pickle instructions that a saved state dictionary needs. It builds plain values; nothing is
//! imported or called, and every instruction and name outside a short list is refused.

use std::collections::HashMap;
use std::rc::Rc;

/// Containers nest this deep at most; a state dictionary needs 5.
const MAX_DEPTH: u8 = 8;
/// Elements on the stack and in containers that one pickle may build.
const MAX_STEPS: usize = 1 << 20;

/// The names that a pickle may mention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    FloatStorage,
    LongStorage,
}

/// What a pickle may build.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than eight bytes, little-endian two's complement.
    Big(Rc<[u8]>),
    Str(Rc<str>),
    Tuple(Rc<[Value]>, u8),
    List(Vec<Value>, u8),
    Dict(Vec<(Value, Value)>, u8),
    Global(Global),
    /// A reference to something stored outside the pickle.
    Persistent(Rc<Value>, u8),
    /// The arguments of a tensor: storage, offset, size, stride, requires_grad, hooks.
    Tensor(Rc<[Value]>, u8),
}

impl Value {
    fn depth(&self) -> u8 {
        match self {
            Self::Tuple(_, depth) | Self::List(_, depth) | Self::Dict(_, depth) => *depth,
            Self::Persistent(_, depth) | Self::Tensor(_, depth) => *depth,
            _ => 0,
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

/// Reads one pickle from the front of `input` and moves `input` behind it.
pub(super) fn read(input: &mut &[u8]) -> Result<Value, String> {
    let mut reader = Reader { rest: input, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    for _ in 0..MAX_STEPS {
        if let Some(value) = reader.step()? {
            *input = reader.rest;
            return Ok(value);
        }
    }
    Err("the pickle has too many instructions".into())
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or("the pickle is truncated")?;
        self.rest = rest;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.bytes(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.bytes(4)?.try_into().map(u32::from_le_bytes).map_err(|_| "the pickle is truncated".into())
    }

    fn line(&mut self) -> Result<&'a [u8], String> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or("the pickle is truncated")?;
        let line = self.bytes(end)?;
        self.bytes(1)?;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("the pickle takes from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "the pickle takes from an empty stack".into())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("the pickle lacks a mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, items: Vec<Value>) -> Result<(), String> {
        let depth = nest(items.iter())?;
        self.stack.push(Value::Tuple(items.into(), depth));
        Ok(())
    }

    fn put(&mut self, key: u32) -> Result<(), String> {
        let value = self.stack.last().ok_or("the pickle remembers an empty stack")?;
        // A container that may still grow is not remembered: reading it back is refused instead of giving an old state.
        if !matches!(value, Value::List(..) | Value::Dict(..)) {
            self.memo.insert(key, value.clone());
        }
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<(), String> {
        let value =
            self.memo.get(&key).ok_or("the pickle recalls what it did not remember, or a list or dictionary")?;
        self.stack.push(value.clone());
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<(), String> {
        let added = nest(items.iter())?;
        let Some(Value::Dict(entries, depth)) = self.stack.last_mut() else {
            return Err("the pickle sets an item of something that is no dictionary".into());
        };
        if !items.len().is_multiple_of(2) {
            return Err("the pickle sets a key without a value".into());
        }
        *depth = added.max(*depth);
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(())
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let global = match (module, name) {
            (b"collections", b"OrderedDict") => Global::OrderedDict,
            (b"torch._utils", b"_rebuild_tensor_v2") => Global::RebuildTensor,
            (b"torch", b"FloatStorage") => Global::FloatStorage,
            (b"torch", b"LongStorage") => Global::LongStorage,
            _ => {
                let (module, name) = (String::from_utf8_lossy(module), String::from_utf8_lossy(name));
                return Err(format!(
                    "the pickle names `{module}.{name}`, which no state dictionary needs: do not trust this file"
                ));
            }
        };
        self.stack.push(Value::Global(global));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let value = match (function, arguments) {
            (Value::Global(Global::OrderedDict), Value::Tuple(items, _)) if items.is_empty() => {
                Value::Dict(Vec::new(), 1)
            }
            (Value::Global(Global::RebuildTensor), Value::Tuple(items, depth)) => Value::Tensor(items, depth),
            (function, _) => {
                return Err(format!("the pickle calls {function:?} in a way that no state dictionary needs"));
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// Executes one instruction; the value when it was the last.
    fn step(&mut self) -> Result<Option<Value>, String> {
        match self.u8()? {
            // PROTO
            0x80 => match self.u8()? {
                2 => {}
                version => return Err(format!("pickle protocol {version}, expected 2")),
            },
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            // BININT, BININT1, BININT2
            b'J' => {
                let value = self.u32()?.cast_signed();
                self.stack.push(Value::Int(value.into()));
            }
            b'K' => {
                let value = self.u8()?;
                self.stack.push(Value::Int(value.into()));
            }
            b'M' => {
                let bytes = self.bytes(2)?;
                self.stack.push(Value::Int(u16::from_le_bytes([bytes[0], bytes[1]]).into()));
            }
            // LONG1
            0x8a => {
                let n = self.u8()?;
                let bytes = self.bytes(n.into())?;
                self.stack.push(Value::Big(bytes.into()));
            }
            // BINUNICODE
            b'X' => {
                let n = self.u32()?;
                let text = std::str::from_utf8(self.bytes(n as usize)?)
                    .map_err(|_| "the pickle has a string that is not UTF-8")?;
                self.stack.push(Value::Str(text.into()));
            }
            b'}' => self.stack.push(Value::Dict(Vec::new(), 1)),
            b']' => self.stack.push(Value::List(Vec::new(), 1)),
            b')' => self.tuple(Vec::new())?,
            // TUPLE, TUPLE1, TUPLE2
            b't' => {
                let items = self.pop_mark()?;
                self.tuple(items)?;
            }
            0x85 => {
                let item = self.pop()?;
                self.tuple(vec![item])?;
            }
            0x86 => {
                let (second, first) = (self.pop()?, self.pop()?);
                self.tuple(vec![first, second])?;
            }
            // APPENDS
            b'e' => {
                let items = self.pop_mark()?;
                let added = nest(items.iter())?;
                let Some(Value::List(list, depth)) = self.stack.last_mut() else {
                    return Err("the pickle appends to something that is no list".into());
                };
                *depth = added.max(*depth);
                list.extend(items);
            }
            // SETITEM, SETITEMS
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(items)?;
            }
            // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
            b'q' => {
                let key = self.u8()?;
                self.put(key.into())?;
            }
            b'r' => {
                let key = self.u32()?;
                self.put(key)?;
            }
            b'h' => {
                let key = self.u8()?;
                self.get(key.into())?;
            }
            b'j' => {
                let key = self.u32()?;
                self.get(key)?;
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                let depth = nest([&id].into_iter())?;
                self.stack.push(Value::Persistent(Rc::new(id), depth));
            }
            b'c' => self.global()?,
            b'R' => self.reduce()?,
            // BUILD: attributes of a dictionary (version numbers of modules) are dropped; of anything else they are
            // refused.
            b'b' => {
                self.pop()?;
                if !matches!(self.stack.last(), Some(Value::Dict(..))) {
                    return Err("the pickle sets attributes of something that is no dictionary".into());
                }
            }
            other => return Err(format!("the pickle has instruction {other:#04x}, which no state dictionary needs")),
        }
        Ok(None)
    }
}

/// Depth of a container of these items.
fn nest<'v>(items: impl Iterator<Item = &'v Value>) -> Result<u8, String> {
    let depth = 1 + items.map(Value::depth).max().unwrap_or(0);
    if depth > MAX_DEPTH { Err("the pickle nests too deeply".into()) } else { Ok(depth) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mut bytes: &[u8]) -> Result<Value, String> {
        read(&mut bytes)
    }

    #[test]
    fn plain_values_are_read() {
        // {"a": 1001, "b": (True, None)}, as Python's pickletools prints protocol 2.
        let value = parse(b"\x80\x02}q\x00(X\x01\x00\x00\x00aM\xe9\x03X\x01\x00\x00\x00b\x88N\x86u.").unwrap();
        let Value::Dict(entries, _) = value else { panic!("{value:?}") };
        assert_eq!(entries[0], (Value::Str("a".into()), Value::Int(1001)));
        assert!(matches!(&entries[1].1, Value::Tuple(items, 1) if **items == [Value::Bool(true), Value::None]));
    }

    #[test]
    fn a_call_of_the_system_is_refused() {
        // What Python writes for an object whose __reduce__ returns (os.system, ("id",)).
        let error = parse(b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.").unwrap_err();
        assert!(error.contains("posix.system") && error.contains("do not trust"), "{error}");
        let error = parse(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nNR.").unwrap_err();
        assert!(error.contains("calls"), "{error}");
    }

    #[test]
    fn hostile_input_is_refused() {
        // A bomb of shared tuples costs nothing until it nests too deeply.
        let bomb = [b"\x80\x02)q\x00".as_slice(), &b"q\x00h\x00h\x00\x86".repeat(50), b"."].concat();
        assert_eq!(parse(&bomb).unwrap_err(), "the pickle nests too deeply");
        for bytes in [
            b"".as_slice(),
            b"\x80\x02",
            b"\x80\x04.",
            b"\x80\x02.",
            b"\x80\x02(.",
            b"\x80\x02h\x07.",
            b"\x80\x02X\xff\xff\xff\xffab",
            b"\x80\x02NN\x86NNs.",
            b"\x80\x02}(Nu.",
            b"\x80\x02N}b.",
            b"\x80\x02}q\x00h\x00.",
            b"\x80\x02i.",
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
