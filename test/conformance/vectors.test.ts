import { expect, test } from 'vitest'
import { buildVectors } from './build-vectors'
import { VECTORS_PATH } from './run-vectors'

test('vectors.json is what the oracle answers to the scenarios', async () => {
  await expect(`${JSON.stringify(buildVectors(), null, 1)}\n`).toMatchFileSnapshot(VECTORS_PATH)
})
