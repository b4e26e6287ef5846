// How long an MP4 or QuickTime file is, read from its movie header: nothing else of it is loaded.
const MOST_BOXES = 64;

async function view(file, at, bytes) {
  return new DataView(await file.slice(at, at + bytes).arrayBuffer());
}

// The place and length of a box's content within [begin, end), or null (ISO/IEC 14496-12, 4.2).
async function find(file, name, begin, end) {
  for (let at = begin, read = 0; at + 8 <= end && read < MOST_BOXES; read += 1) {
    const head = await view(file, at, 16);
    let size = head.getUint32(0);
    let header = 8;
    if (size === 1 && head.byteLength === 16) [size, header] = [Number(head.getBigUint64(8)), 16];
    if (size === 0) size = end - at;
    if (size < header) return null;
    const type = String.fromCharCode(...[4, 5, 6, 7].map((each) => head.getUint8(each)));
    if (type === name) return [at + header, at + size];
    at += size;
  }
  return null;
}

// Seconds, or null where the file is of another kind, or does not say.
export async function duration(file) {
  const movie = await find(file, "moov", 0, file.size);
  const header = movie && (await find(file, "mvhd", ...movie));
  if (!header) return null;
  const said = await view(file, header[0], 32);
  if (said.byteLength < 32) return null;
  const is64 = said.getUint8(0) === 1;
  const scale = said.getUint32(is64 ? 20 : 12);
  const units = is64 ? Number(said.getBigUint64(24)) : said.getUint32(16);
  return scale && units && units !== 0xffffffff ? units / scale : null;
}
