// Holds an attention in JavaScript to the test vectors: node check.mjs vectors/attention.safetensors
import { readFileSync } from "node:fs";
const file = readFileSync(process.argv[2]), size = Number(file.readBigUInt64LE(0));
const header = JSON.parse(file.subarray(8, 8 + size)), kinds = { F32: Float32Array, F64: Float64Array, BOOL: Uint8Array };
const read = (name) => {
  const { dtype, shape, data_offsets: [from, to] } = header[name], start = file.byteOffset + 8 + size;
  return { shape, data: new kinds[dtype](file.buffer.slice(start + from, start + to)) };
};

function attention(q, k, v, visible, scale) { // yours goes here: arrays (1, heads, length, width) as one row of numbers
  const [, heads, rows, d] = q.shape, [, kvHeads, keys, e] = v.shape, out = new Float64Array(heads * rows * e);
  for (let h = 0; h < heads; h++) for (let i = 0; i < rows; i++) {
    const g = Math.floor(h / (heads / kvHeads)), row = h * rows + i, w = [];
    for (let j = 0; j < keys; j++) {
      let s = 0;
      for (let c = 0; c < d; c++) s += q.data[row * d + c] * k.data[(g * keys + j) * d + c];
      w.push(visible.data[row * keys + j] ? Math.exp(scale * s) : 0);
    }
    const total = w.reduce((a, b) => a + b, 0) || 1;
    for (let j = 0; j < keys; j++) for (let c = 0; c < e; c++) out[row * e + c] += w[j] / total * v.data[(g * keys + j) * e + c];
  }
  return out;
}

for (const { case: n, flags, options } of JSON.parse(header.__metadata__.cases)) {
  if (flags.some((flag) => ["bias", "softcap", "sinks"].includes(flag))) continue; // not supported above
  const [q, k, v, visible, want, allowed] = ["q", "k", "v", "visible", "out", "allowed/out"].map((name) => read(`${n}/${name}`));
  const out = attention(q, k, v, visible, options.scale ?? q.shape[3] ** -0.5);
  console.log(n, flags.join(" "), out.every((x, i) => Math.abs(x - want.data[i]) <= allowed.data[i]) ? "holds" : "FAILS");
}
