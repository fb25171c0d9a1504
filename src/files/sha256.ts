/** The SHA-256 of a file, streamed: 256 KiB of memory whatever its size, and the event loop runs between the reads. */

import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

import { KIB } from '../base/bytes.ts';
import { fileError } from './fs-errors.ts';

/** 64 lower-case hexadecimal digits. Throws E_FILE. */
export async function sha256OfFile(path: string): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const hash = createHash('sha256');
      const buffer = Buffer.allocUnsafeSlow(256 * KIB);
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, buffer.byteLength);
        if (bytesRead === 0) return hash.digest('hex');
        hash.update(buffer.subarray(0, bytesRead));
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(error, 'read', path);
  }
}
