/** The place of an item that is in no heap. */
export const NOWHERE = -1

/**
 * A binary heap whose items know their place in it, so that one can be moved or taken out in O(log n).
 * `Place` is the property of the item that holds the place; an item may be in several heaps with a property for each.
 */
export class IndexedHeap<Place extends string, Item extends Record<Place, number>> {
  readonly #items: Item[] = []
  readonly #place: Place
  readonly #isBefore: (a: Item, b: Item) => boolean

  /** @param isBefore a strict order */
  constructor(place: Place, isBefore: (a: Item, b: Item) => boolean) {
    this.#place = place
    this.#isBefore = isBefore
  }

  get size(): number {
    return this.#items.length
  }

  get first(): Item | undefined {
    return this.#items[0]
  }

  /** In no order. */
  get items(): readonly Item[] {
    return this.#items
  }

  has(item: Item): boolean {
    return item[this.#place] !== NOWHERE
  }

  /** Puts the item where it belongs, whether or not it is in the heap already. */
  put(item: Item): void {
    if (!this.has(item)) this.#set(this.#items.length, item)
    this.#sift(item)
  }

  remove(item: Item): void {
    if (!this.has(item)) return
    const hole: number = item[this.#place]
    this.#setPlace(item, NOWHERE)
    const last = this.#items.pop() as Item
    if (last === item) return
    this.#set(hole, last)
    this.#sift(last)
  }

  /** Moves an item that is in the wrong place up or down. */
  #sift(item: Item): void {
    let at = this.#rise(item, item[this.#place])
    const items = this.#items
    for (let child = 2 * at + 1; child < items.length; child = 2 * at + 1) {
      const right = child + 1
      if (right < items.length && this.#isBefore(items[right] as Item, items[child] as Item)) child = right
      const other = items[child] as Item
      if (!this.#isBefore(other, item)) break
      this.#set(at, other)
      at = child
    }
    this.#set(at, item)
  }

  /** @returns the place that was reached; whoever was above moves down */
  #rise(item: Item, from: number): number {
    let at = from
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = this.#items[above] as Item
      if (!this.#isBefore(item, parent)) break
      this.#set(at, parent)
      at = above
    }
    return at
  }

  #set(at: number, item: Item): void {
    this.#items[at] = item
    this.#setPlace(item, at)
  }

  #setPlace(item: Record<Place, number>, at: number): void {
    item[this.#place] = at
  }
}
