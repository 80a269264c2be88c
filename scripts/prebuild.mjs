// Puts the addon that this machine built where the published package carries it: prebuilds/<platform>/sluice.node.
// Runs before `npm pack`. A release collects this folder from one machine per platform.
import { copyFileSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const { platformName } = createRequire(import.meta.url)('../dist/native/load.js')
const target = join(root, 'prebuilds', platformName(), 'sluice.node')
mkdirSync(dirname(target), { recursive: true })
copyFileSync(join(root, 'build', 'Release', 'sluice.node'), target)
console.log(`prebuilds/${platformName()}/sluice.node`)
