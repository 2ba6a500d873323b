"use strict";
// A table as a Parquet file (github.com/apache/parquet-format): one row group, one plain, uncompressed page a column,
// every column optional. Only what a page needs to hand out its rows without a server: text and doubles.
const parquet = (columns, nRows) => {
  const bytes = [];
  const text = value => new TextEncoder().encode(value);
  const varint = (out, n) => { for (; n > 127; n = Math.floor(n / 128)) out.push(n % 128 + 128); out.push(n); };
  const uint32 = n => [n & 255, n >>> 8 & 255, n >>> 16 & 255, n >>> 24 & 255];
  const put = (out, values) => { for (const value of values) out.push(value); };

  // Thrift's compact protocol: a struct is {field id: [type, value]}, in rising order of ids.
  const I32 = 5, I64 = 6, BINARY = 8, LIST = 9, STRUCT = 12;
  const write = (out, type, value) => {
    if (type === I32 || type === I64) varint(out, value * 2);  // zigzag of what is never negative
    else if (type === BINARY) { const raw = text(value); varint(out, raw.length); put(out, raw); }
    else if (type === LIST) {
      const [kind, items] = value;
      if (items.length < 15) out.push(items.length * 16 + kind);
      else { out.push(240 + kind); varint(out, items.length); }
      for (const item of items) write(out, kind, item);
    } else {
      let before = 0;
      for (const [id, [kind, inner]] of Object.entries(value)) { out.push((id - before) * 16 + kind); before = Number(id); write(out, kind, inner); }
      out.push(0);
    }
  };
  const struct = value => { const out = []; write(out, STRUCT, value); return out; };

  put(bytes, text("PAR1"));
  const DOUBLE = 5, BYTE_ARRAY = 6, UTF8 = 0, OPTIONAL = 1, PLAIN = 0, RLE = 3, UNCOMPRESSED = 0, DATA_PAGE = 0;
  const chunks = columns.map(({name, number, values}) => {
    const present = [];  // definition levels: bit-packed groups of eight, one bit a row
    const groups = Math.ceil(nRows / 8);
    varint(present, groups * 2 + 1);
    for (let group = 0; group < groups; group++) {
      let byte = 0;
      for (let bit = 0; bit < 8; bit++) if ((values[group * 8 + bit] ?? null) !== null) byte |= 1 << bit;
      present.push(byte);
    }
    const page = [...uint32(present.length)];
    put(page, present);
    for (const value of values) {
      if (value === null) continue;
      if (number) put(page, new Uint8Array(new Float64Array([value]).buffer));
      else { const raw = text(value); put(page, uint32(raw.length)); put(page, raw); }
    }
    const header = struct({1: [I32, DATA_PAGE], 2: [I32, page.length], 3: [I32, page.length],
      5: [STRUCT, {1: [I32, nRows], 2: [I32, PLAIN], 3: [I32, RLE], 4: [I32, RLE]}]});
    const at = bytes.length, size = header.length + page.length;
    put(bytes, header);
    put(bytes, page);
    return {size, column: {2: [I64, at], 3: [STRUCT, {1: [I32, number ? DOUBLE : BYTE_ARRAY], 2: [LIST, [I32, [PLAIN, RLE]]],
      3: [LIST, [BINARY, [name]]], 4: [I32, UNCOMPRESSED], 5: [I64, nRows], 6: [I64, size], 7: [I64, size], 9: [I64, at]}]}};
  });
  const leaves = columns.map(({name, number}) => number
    ? {1: [I32, DOUBLE], 3: [I32, OPTIONAL], 4: [BINARY, name]}
    : {1: [I32, BYTE_ARRAY], 3: [I32, OPTIONAL], 4: [BINARY, name], 6: [I32, UTF8]});
  const footer = struct({1: [I32, 1], 2: [LIST, [STRUCT, [{4: [BINARY, "schema"], 5: [I32, columns.length]}, ...leaves]]], 3: [I64, nRows],
    4: [LIST, [STRUCT, [{1: [LIST, [STRUCT, chunks.map(chunk => chunk.column)]], 2: [I64, chunks.reduce((sum, chunk) => sum + chunk.size, 0)], 3: [I64, nRows]}]]]});
  put(bytes, footer);
  put(bytes, uint32(footer.length));
  put(bytes, text("PAR1"));
  return new Uint8Array(bytes);
};
