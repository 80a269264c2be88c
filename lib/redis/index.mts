// One implementation serves both module systems, so that a class imported here is the class required there.
export * from './index.js'
