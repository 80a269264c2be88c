/** An exact fraction of two BigInts, in lowest terms, with a positive denominator. */
export class Rational {
  static readonly ZERO = new Rational(0n, 1n)

  private constructor(
    readonly num: bigint,
    readonly den: bigint,
  ) {}

  static of(num: bigint | number, den: bigint | number = 1n): Rational {
    const bigDen = BigInt(den)
    if (bigDen === 0n) throw new RangeError('a fraction cannot have the denominator 0')
    const sign = bigDen < 0n ? -1n : 1n
    const bigNum = BigInt(num)
    const common = gcd(bigNum, bigDen)
    return new Rational((sign * bigNum) / common, (sign * bigDen) / common)
  }

  plus(other: Rational): Rational {
    return Rational.of(this.num * other.den + other.num * this.den, this.den * other.den)
  }

  minus(other: Rational): Rational {
    return Rational.of(this.num * other.den - other.num * this.den, this.den * other.den)
  }

  times(other: Rational): Rational {
    return Rational.of(this.num * other.num, this.den * other.den)
  }

  over(other: Rational): Rational {
    return Rational.of(this.num * other.den, this.den * other.num)
  }

  /** Negative, 0 or positive, as this is less than, equal to or greater than the other. */
  compare(other: Rational): number {
    const difference = this.num * other.den - other.num * this.den
    return difference < 0n ? -1 : difference > 0n ? 1 : 0
  }

  floor(): bigint {
    const quotient = this.num / this.den
    return this.num < 0n && quotient * this.den !== this.num ? quotient - 1n : quotient
  }

  ceil(): bigint {
    return -Rational.of(-this.num, this.den).floor()
  }

  isZero(): boolean {
    return this.num === 0n
  }

  toString(): string {
    return this.den === 1n ? `${this.num}` : `${this.num}/${this.den}`
  }
}

export function gcd(a: bigint, b: bigint): bigint {
  let x = a < 0n ? -a : a
  let y = b < 0n ? -b : b
  while (y !== 0n) [x, y] = [y, x % y]
  return x
}

export function larger(a: Rational, b: Rational): Rational {
  return a.compare(b) >= 0 ? a : b
}

export function smaller(a: Rational, b: Rational): Rational {
  return a.compare(b) <= 0 ? a : b
}

export function largerInt(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

export function smallerInt(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

/** The remainder that is never negative. */
export function floorMod(value: bigint, modulus: bigint): bigint {
  const remainder = value % modulus
  return remainder < 0n ? remainder + modulus : remainder
}
