import { expect, test } from 'vitest'
import { buildVectors, vectorText } from './build-vectors'
import { VECTORS_PATH } from './run-vectors'

test('vectors.json is what the oracle answers to the scenarios', async () => {
  const vectors = buildVectors()
  const text = vectorText(vectors)
  expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(vectors)))
  await expect(text).toMatchFileSnapshot(VECTORS_PATH)
})
